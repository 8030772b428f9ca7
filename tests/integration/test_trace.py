"""One story: everything that became of a reservation, in order, by any id of it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.app import App, Payment
from tests.support.lambda_events import Answer, Context
from tests.support.postgres import on_every_postgres
from tests.support.sign_in import configure, request, token
from tests.support.stripe_events import event_of

type Tell = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def tell(app: App, monkeypatch: pytest.MonkeyPatch) -> Tell:
    """The story's entries, as an administrator is told them."""
    configure(monkeypatch)

    def told(known_id: str) -> list[dict[str, Any]]:
        answer = ask(app, known_id)
        assert answer.status == 200, answer
        return answer.body["entries"]

    return told


def ask(app: App, known_id: str) -> Answer:
    answered = app.handler("admin")(
        request("GET", f"/trace/{known_id}", bearer=token(role="admin")), Context()
    )
    return Answer(answered["statusCode"], answered["body"], answered["headers"])


def what(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["what"] for entry in entries]


def refunded(app: App, payment: Payment) -> str:
    """Has all of the booking's money sent back by an administrator; the refund's id at Stripe."""
    booking = app.value("SELECT id FROM bookings WHERE payment_id = %s", payment.id)
    bearer = {"authorization": f"Bearer {token(role='admin')}"}
    asked = app.call("bookings", "POST", f"/bookings/{booking}/refunds", {"reason": "rain"}, bearer)
    assert asked.status == 202, asked
    app.invoke("deliver-outbox")
    return app.value("SELECT stripe_refund_id FROM refunds WHERE payment_id = %s", payment.id)


@on_every_postgres
def test_a_purchase_is_told_from_hold_to_refund_in_order(app: App, tell: Tell) -> None:
    payment = app.booked(app.slot(), 2)
    refunded(app, payment)
    entries = tell(payment.hold.id)
    assert what(entries) == [
        "seats held",
        "payment begun",
        "payment made at Stripe",
        "payment_intent.succeeded processed",
        "paid",
        "booked",
        "hold completed",
        "notification booked canceled",
        "refund asked for",
        "refund under way",
        "refund succeeded",
        "notification refunded canceled",
        "money has gone back",
        "booking refunded",
    ]
    assert [entry["at"] for entry in entries] == sorted(entry["at"] for entry in entries)


def test_each_entry_says_who_for_which_request_and_what_it_was_worth(app: App, tell: Tell) -> None:
    payment = app.booked(app.slot(), 2)
    refunded(app, payment)
    told = {entry["what"]: entry for entry in tell(payment.hold.id)}
    held, paid, booked, refund = (told[line] for line in ("seats held", "paid", "booked", "refund asked for"))
    assert (held["who"], held["amount"], held["currency"], held["seats"]) == ("customer", 9000, "eur", 2)
    assert held["request_id"] == app.value("SELECT request_id FROM ticket_reservations")
    assert (paid["who"], paid["amount"], paid["subject"]) == ("stripe", 9000, payment.intent_id)
    assert paid["event_id"] == app.value("SELECT event_id FROM webhook_events_log")
    assert (booked["seats"], booked["request_id"]) == (
        2,
        app.value("SELECT request_id FROM payment_intents_log"),
    )
    assert (refund["who"].split()[0], refund["amount"], refund["detail"]) == ("admin", 9000, "rain")


def test_every_id_leads_to_the_same_story(app: App, tell: Tell) -> None:
    """Ours of reservation, payment, booking and refund; Stripe's of intent, refund and event."""
    payment = app.booked(app.slot())
    at_stripe = refunded(app, payment)
    ids = [
        *app.row("SELECT f.id, b.id, b.reservation_id, b.payment_id FROM refunds f, bookings b"),
        *app.row("SELECT event_id FROM webhook_events_log"),
        payment.intent_id,
        at_stripe,
    ]
    stories = [tell(str(known_id)) for known_id in ids]
    assert stories[0]
    assert all(story == stories[0] for story in stories)


def test_a_session_and_a_dispute_lead_to_it_too(app: App, tell: Tell) -> None:
    payment = app.payment(app.hold(app.slot()), mode="checkout_session")
    assert what(tell(str(payment.session_id)))[0] == "seats held"
    app.rows(
        """
        INSERT INTO disputes (id, stripe_dispute_id, payment_id, status, status_at, standing, amount, currency)
        VALUES (gen_random_uuid(), 'dp_1', %s, 'needs_response', now(), 'open', 4500, 'eur')
        """,
        payment.id,
    )
    assert what(tell("dp_1"))[-1] == "dispute open"


def test_late_money_is_told_without_a_booking(app: App, tell: Tell) -> None:
    """Its refund belongs to no booking, and is in the story all the same."""
    slot = app.slot(units=1)
    payment = app.payment(app.hold(slot))
    app.confirm(payment)
    app.rows("SELECT release_holds(ARRAY[%s]::uuid[], 'cancelled')", payment.hold.id)
    assert app.outcome(app.event(payment.intent_id, "payment_intent.succeeded")) == "processed"
    app.invoke("deliver-outbox")
    told = what(tell(payment.hold.id))
    assert told.index("hold cancelled") < told.index("paid") < told.index("refund succeeded")
    assert "notification could-not-be-seated canceled" in told


def test_credits_and_a_move_are_told(app: App, tell: Tell) -> None:
    app.grant("user-1", 2)
    offering = app.offering(credits_price=1)
    first, second = (app.slot(offering, starts_in=days) for days in ("30 days", "31 days"))
    hold = app.hold(first)
    bearer = {"authorization": f"Bearer {token()}"}
    booking = app.book(hold, "credits", **bearer).body
    moved = app.call(
        "bookings",
        "POST",
        f"/bookings/{booking['id']}/reschedule",
        {"slot_id": second},
        bearer | {"if-match": "1"},
    )
    assert moved.status == 200, moved
    told = tell(booking["id"])
    assert [entry["credits"] for entry in told if entry["what"] == "credits spent"] == [1]
    assert "moved to another slot" in what(told)
    assert "notification rescheduled waits" in what(told)


def test_an_event_that_failed_is_in_the_story_of_its_payment(
    app: App, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its reason, before anybody has had it done again."""
    payment = app.payment(app.hold(app.slot()))
    app.confirm(payment)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the effect does not work")

    monkeypatch.setattr("payments.applying.write_effects", fail)
    assert app.deliver(app.event(payment.intent_id, "payment_intent.succeeded")).status == 500
    (failed,) = (e for e in tell(payment.hold.id) if e["what"].startswith("payment_intent"))
    assert failed["what"] == "payment_intent.succeeded failed"
    assert "the effect does not work" in failed["detail"]


def test_an_error_of_a_call_is_in_the_story_of_that_call(app: App, tell: Tell) -> None:
    hold = app.hold(app.slot())
    request_id = app.value("SELECT request_id FROM ticket_reservations")
    app.rows(
        """
        SELECT report_error('f-1', 'error', 'backend', 'it broke', 'reservations', NULL, '{}', NULL, NULL, %s, 1, NULL,
                            NULL, NULL)
        """,
        request_id,
    )
    assert what(tell(hold.id))[-1] == "error: it broke"


def test_an_event_about_nothing_of_ours_is_a_story_of_its_own(app: App, tell: Tell) -> None:
    event = event_of("customer.created", {"id": "cus_1", "object": "customer"})
    assert app.outcome(event) == "ignored"
    assert what(tell(event["id"])) == ["customer.created ignored"]


@pytest.mark.parametrize("unknown", ["pi_nobody", "not-an-id", "00000000-0000-4000-8000-000000000000"])
def test_what_nobody_knows_is_404(app: App, monkeypatch: pytest.MonkeyPatch, unknown: str) -> None:
    configure(monkeypatch)
    answer = ask(app, unknown)
    assert (answer.status, answer.problem) == (404, "not-found")


def test_a_story_has_nothing_personal_in_it(app: App, tell: Tell) -> None:
    payment = app.booked(app.slot())
    refunded(app, payment)
    told = json.dumps(tell(payment.hold.id))
    assert payment.hold.email not in told
    assert "Ada Example" not in told


def trace(app: App, known_id: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DATABASE_OWNER_URL": app.owner_url, "ID": known_id}
    paths = os.pathsep.join((".", "shared", "layers/postgres"))
    return subprocess.run(
        [sys.executable, "-m", "scripts.trace", *arguments],
        env=environment | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_program_prints_a_line_an_entry(app: App) -> None:
    """`make trace ID=`; with --json the same as the API says; who names nobody is told so."""
    hold = app.hold(app.slot())
    printed = trace(app, hold.id)
    (held,) = printed.stdout.splitlines()
    assert printed.returncode == 0
    for part in (
        "seats held",
        "4500 eur",
        "seats 1",
        "customer",
        app.value("SELECT request_id FROM ticket_reservations"),
    ):
        assert part in held
    (entry,) = json.loads(trace(app, hold.id, "--json").stdout)["entries"]
    assert (entry["what"], entry["amount"]) == ("seats held", 4500)
    unknown = trace(app, "evt_nobody")
    assert (unknown.returncode, unknown.stdout) == (1, "")
