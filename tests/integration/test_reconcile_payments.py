"""Payments of which no event tells: asked about, found, settled; second intents closed."""

from collections.abc import Generator
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pytest

from tests.emulator_process import Emulator, emulator
from tests.support.app import App, Payment
from tests.support.logs import Logs
from tests.support.postgres import on_every_postgres
from tests.support.reconciliation import NOTHING, all_due, changes, ours, paid, reconcile


@pytest.fixture
def stripe_account(tmp_path: Path) -> Generator[Emulator]:
    """An account of the test's own: its list has no events of others."""
    with emulator(tmp_path / "stripe") as running:
        yield running


def without_events(app: App) -> None:
    """Stripe's events are too old to be listed: the list is past them."""
    app.rows(
        "INSERT INTO job_cursors (job, reached_at) VALUES ('stripe-events', now() + interval '2 hours')"
        " ON CONFLICT (job) DO UPDATE SET reached_at = excluded.reached_at"
    )


@pytest.mark.parametrize("mode", ["payment_intent", "checkout_session"])
@on_every_postgres
def test_a_payment_whose_events_are_lost_is_asked_about(app: App, mode: str) -> None:
    """No event says so, but Stripe does when it is asked: booked."""
    payment = app.payment(app.hold(app.slot()), mode=mode)
    app.confirm(payment)
    without_events(app)
    assert reconcile(app) == NOTHING | {"payments_asked": 1}
    assert app.status(payment.hold) == "completed"
    all_due(app)
    without_events(app)
    assert reconcile(app) == NOTHING
    assert app.violations() == []


@on_every_postgres
def test_what_was_cancelled_at_stripe_gives_its_seats_back(app: App) -> None:
    """A hold that was kept for Stripe's answer ends with it."""
    slot = app.slot()
    payment = app.payment(app.hold(slot))
    app.rows(
        "UPDATE ticket_reservations SET closing_at = now(), closing_as = 'cancelled', expires_at = now()"
    )
    app.stripe_client.v1.payment_intents.cancel(str(payment.intent_id))
    without_events(app)
    assert reconcile(app)["payments_asked"] == 1
    assert app.status(payment.hold) == "cancelled"
    assert app.counts(slot) == (0, 0, 0, 0)


@pytest.mark.parametrize("mode", ["payment_intent", "checkout_session"])
@on_every_postgres
def test_an_unknown_payment_is_found_by_our_id(app: App, mode: str) -> None:
    """Stripe made it and nobody heard: its ids are known afterwards, and the buyer's retry gets this very one."""
    hold = app.hold(app.slot())
    path = "/v1/payment_intents" if mode == "payment_intent" else "/v1/checkout/sessions"
    app.faults({"method": "POST", "path": path, "times": 3, "timeout_after": True})
    assert app.pay(hold, mode=mode).status == 503
    app.faults()
    without_events(app)
    known = "SELECT coalesce(payment_intent_id, checkout_session_id) FROM payment_intents_log"
    assert app.value(known) is None
    assert reconcile(app)["payments_asked"] == 1
    found = app.value(known)
    assert found
    answer = app.pay(hold, mode=mode).body
    assert found in (answer.get("payment_intent_id"), answer.get("checkout_session_id"))


def test_an_unknown_payment_that_stripe_never_made_stays_with_its_hold(app: App) -> None:
    """Nothing is found, nothing is changed: the buyer's retry or the end of the hold settles it."""
    hold = app.hold(app.slot())
    app.faults({"method": "POST", "path": "/v1/payment_intents", "times": 3, "timeout_before": True})
    assert app.pay(hold).status == 503
    app.faults()
    before = changes(app)
    assert reconcile(app) == NOTHING | {"payments_asked": 1}
    assert changes(app) == before


@on_every_postgres
def test_a_payment_is_asked_about_less_and_less_often(app: App) -> None:
    """After as long as it is old: a minute at least, six hours at most."""
    app.payment(app.hold(app.slot()))
    wait = "SELECT extract(epoch FROM next_reconcile_at - now())::integer FROM payment_intents_log"
    assert app.value(wait) <= 0
    for age, pause in (("0", 60), ("20 minutes", 1200), ("3 days", 6 * 3600)):
        app.rows("UPDATE payment_intents_log SET created_at = now() - %s::interval", age)
        all_due(app)
        assert reconcile(app)["payments_asked"] == 1
        assert abs(app.value(wait) - pause) < 30
        assert reconcile(app)["payments_asked"] == 0


@on_every_postgres
def test_a_payment_that_somebody_works_on_is_left_alone(app: App) -> None:
    """Whoever has the lease is asking Stripe at this moment."""
    app.payment(app.hold(app.slot()))
    app.rows("UPDATE payment_intents_log SET lease_until = now() + interval '1 hour'")
    assert reconcile(app)["payments_asked"] == 0
    app.leases_over()
    assert reconcile(app)["payments_asked"] == 1


def test_a_payment_that_stripe_does_not_answer_about_keeps_no_other_waiting(app: App) -> None:
    """More than a batch, one of them without an answer: the others are settled."""
    slot = app.slot(units=20)
    payments = [paid(app, slot) for _ in range(10)]
    without_events(app)
    app.faults(
        {"method": "GET", "path": f"/v1/payment_intents/{payments[3].intent_id}", "times": 9, "status": 500}
    )
    assert reconcile(app)["payments_asked"] == 10
    assert app.status_counts() == {"active": 1, "completed": 9}


def test_a_payment_that_cannot_be_settled_keeps_no_other_waiting(app: App, logs: Logs) -> None:
    """It is logged and counted, alone; the others of its batch are settled."""
    slot = app.slot()
    payments = [paid(app, slot) for _ in range(3)]
    without_events(app)
    app.rows(f"ALTER TABLE bookings ADD CONSTRAINT poison CHECK (payment_id <> '{payments[1].id}')")
    assert reconcile(app)["payments_asked"] == 3
    assert app.status_counts() == {"active": 1, "completed": 2}
    (line,) = logs.lines("ERROR")
    assert line["payment_id"] == payments[1].id
    assert "ReconcileFailed" in logs.counted()


@on_every_postgres
def test_money_that_is_not_what_we_asked_for_books_nothing_when_it_is_asked_about(
    app: App, logs: Logs
) -> None:
    """Another amount than the payment's: as for an event, nobody is booked and a person is told."""
    payment = paid(app)
    without_events(app)
    app.rows("ALTER TABLE payment_intents_log DISABLE TRIGGER payments_facts_only_grow")
    app.rows("UPDATE payment_intents_log SET amount = 9900")
    reconcile(app)
    assert app.status(payment.hold) == "active"
    assert [line["reason"] for line in logs.lines("ERROR")] == ["amount"]
    assert "PaymentQuarantined" in logs.counted()
    app.expire(payment.hold)
    assert app.invoke("reservation-cleanup")["kept"] == 1
    assert app.count("bookings") == 0


# Second intents.


def second_intent(app: App, payment: Payment, *, pay: bool = False) -> str:
    """Another intent that Stripe has made for the payment."""
    made = app.stripe_client.v1.payment_intents.create(
        {
            "amount": payment.hold.amount,
            "currency": "eur",
            "metadata": {"holdfast_payment_id": payment.id, "holdfast_reservation_id": payment.hold.id},
        }
    )
    if pay:
        app.stripe_client.v1.payment_intents.confirm(made.id, {"payment_method": "pm_card_visa"})
    return made.id


@on_every_postgres
def test_a_second_intent_of_a_payment_is_cancelled(app: App) -> None:
    """Nobody can pay it; the first one stays as it is, and is paid."""
    payment = app.payment(app.hold(app.slot()))
    stray = second_intent(app, payment)
    reconcile(app)
    assert app.stripe_client.v1.payment_intents.retrieve(stray).status == "canceled"
    status = "SELECT status FROM payment_intents_log WHERE payment_intent_id = %s"
    assert app.value(status, stray) == "canceled"
    app.confirm(payment)
    reconcile(app)
    assert app.status(payment.hold) == "completed"
    assert app.count("refunds") == 0
    all_due(app)
    before = changes(app)
    reconcile(app)
    assert changes(app)["payment_intents_log"] == before["payment_intents_log"]
    assert app.violations() == []


@on_every_postgres
def test_a_second_intent_that_was_paid_too_goes_back(app: App) -> None:
    """Paid twice: one booking, one refund."""
    slot = app.slot()
    payment = app.booked(slot)
    second_intent(app, payment, pay=True)
    reconcile(app)
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.row("SELECT amount, reason FROM refunds") == (payment.hold.amount, "paid-twice")
    assert app.violations() == []


@pytest.mark.parametrize("session_first", [True, False])
def test_a_second_intent_that_is_told_of_before_the_page_s_own_is_closed(
    app: App, session_first: bool
) -> None:
    """The payment's row has the wrong one of the two: the page's money is booked all the same, and nothing stays open."""
    payment = app.payment(app.hold(app.slot()), mode="checkout_session")
    stray = second_intent(app, payment)
    assert app.outcome(app.event(stray, "payment_intent.created")) == "processed"
    app.confirm(payment)
    completed = app.event(payment.session_id, "checkout.session.completed")
    (own,) = [intent.id for intent in app.intents(payment.hold) if intent.id != stray]
    succeeded = app.event(own, "payment_intent.succeeded")
    told = [completed, succeeded] if session_first else [succeeded, completed]
    assert [app.outcome(event) for event in told] == ["processed", "stale"]
    assert app.status(payment.hold) == "completed"
    captured = "SELECT payment_intent_id FROM payment_intents_log WHERE captured_amount = 4500"
    assert app.value(captured) == own
    app.leases_over()
    app.invoke("reservation-cleanup")
    assert app.stripe_client.v1.payment_intents.retrieve(stray).status == "canceled"
    still_open = "SELECT count(*) FROM payment_intents_log WHERE canceled_at IS NULL AND captured_amount = 0"
    assert app.value(still_open) == 0
    assert app.violations() == []


def test_a_second_intent_in_the_place_of_a_page_s_own_is_closed_with_the_page(app: App) -> None:
    """Nobody pays, and the hold is over: page and intent are closed before its seats go."""
    payment = app.payment(app.hold(app.slot()), mode="checkout_session")
    stray = second_intent(app, payment)
    assert app.outcome(app.event(stray, "payment_intent.created")) == "processed"
    app.expire(payment.hold)
    app.leases_over()
    assert app.invoke("reservation-cleanup")["released"] == 1
    assert app.stripe_client.v1.payment_intents.retrieve(stray).status == "canceled"
    assert app.stripe_client.v1.checkout.sessions.retrieve(payment.session_id or "").status == "expired"
    assert app.violations() == []


def test_a_second_intent_that_stripe_does_not_close_is_tried_again(app: App) -> None:
    """No answer: later, and later again."""
    payment = app.payment(app.hold(app.slot()))
    stray = second_intent(app, payment)
    path = f"/v1/payment_intents/{stray}/cancel"
    app.faults({"method": "POST", "path": path, "times": 3, "timeout_before": True})
    reconcile(app)
    app.faults()
    next_at: datetime = app.value(
        "SELECT next_reconcile_at FROM payment_intents_log WHERE payment_intent_id = %s", stray
    )
    assert next_at > app.value("SELECT now()")
    assert app.stripe_client.v1.payment_intents.retrieve(stray).status != "canceled"
    all_due(app)
    reconcile(app)
    assert app.stripe_client.v1.payment_intents.retrieve(stray).status == "canceled"


def test_an_intent_of_a_payment_that_we_do_not_have_is_left_alone_and_told(app: App, logs: Logs) -> None:
    """Our metadata and no row: another stack may share the account. A person looks; nothing is cancelled."""
    app.payment(app.hold(app.slot()))
    made = app.stripe_client.v1.payment_intents.create(
        {"amount": 4500, "currency": "eur", **ours(str(uuid4()))}  # pyright: ignore[reportArgumentType] - built in two steps
    )
    reconcile(app)
    assert app.stripe_client.v1.payment_intents.retrieve(made.id).status == "requires_payment_method"
    assert [line["outcome"] for line in logs.lines("ERROR")] == ["parked"]
