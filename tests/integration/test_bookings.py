"""`POST /bookings`: a hold is booked on arrival, with credits or for free. What it refuses, it leaves as it was."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tests.support.app import App, Hold
from tests.support.lambda_events import Answer
from tests.support.postgres import on_every_postgres
from tests.support.sign_in import SECRET, token

MARY = {"authorization": f"Bearer {token(sub='mary')}"}


@pytest.fixture(autouse=True)
def tokens(app: App) -> None:
    """The site's tokens are known."""
    app.set(JWT_SECRET=SECRET)


def refused(app: App, hold: Hold, method: str, status: int, problem: str, **headers: str) -> None:
    """The booking is refused, and nothing is another than before."""
    before = app.dump()
    answer = app.book(hold, method, **headers)
    assert (answer.status, answer.problem) == (status, problem)
    assert app.dump() == before


def with_add_on(app: App, unit_amount: int, **offering: object) -> Hold:
    """A hold of one unit with an add-on of this price."""
    slug = app.offering(**offering)
    body = app.hold_request(app.slot(slug))
    body["items"][0]["add_ons"] = [{"id": app.add_on(slug, unit_amount), "quantity": 1}]
    held = app.call("reservations", "POST", "/reservations", body).body
    return Hold(held["id"], held["token"], held["amount"], "")


@on_every_postgres
def test_a_hold_is_booked_on_arrival(app: App) -> None:
    """201 with the booking; held becomes sold; nothing is paid yet; the site is told, the audit knows the buyer."""
    slot = app.slot(pay_on_arrival=True)
    hold = app.hold(slot, 2)

    answer = app.book(hold)

    booking_id, item_id, created_at = app.row(
        "SELECT b.id, i.id, rfc3339(b.created_at) FROM bookings b JOIN booking_items i ON i.booking_id = b.id"
    )
    starts_at, ends_at = app.row("SELECT rfc3339(starts_at), rfc3339(ends_at) FROM slots")
    line = {"id": str(item_id), "slot_id": slot, "starts_at": starts_at, "ends_at": ends_at}
    assert (answer.status, answer.headers["ETag"]) == (201, '"1"')
    assert answer.body == {
        "id": str(booking_id),
        "reservation_id": hold.id,
        "status": "confirmed",
        "payment_method": "pay_on_arrival",
        "payment_status": "pending",
        "amount": 9000,
        "currency": "eur",
        "credits": 0,
        "version": 1,
        "created_at": created_at,
        "items": [{**line, "units": 2, "unit_amount": 4500, "add_ons": []}],
    }
    assert app.counts(slot) == (0, 2, 0, 1)
    assert app.show(hold)["booking_id"] == str(booking_id)
    assert app.rows("SELECT dedupe_key FROM outbox") == [(f"booked:{booking_id}",)]
    assert app.row("SELECT performed_by, reason FROM booking_audit_log WHERE table_name = 'bookings'") == (
        "customer",
        "books",
    )
    assert app.violations() == []


@on_every_postgres
def test_a_hold_is_booked_with_credits(app: App) -> None:
    """At the price in credits that the hold froze; nothing is owed in money, and the buyer is the booking's owner."""
    app.grant("mary", 7)
    slug = app.offering(credits_price=3)
    hold = app.hold(app.slot(slug), 2)
    app.rows("UPDATE offerings SET credits_price = 100")

    answer = app.book(hold, "credits", **MARY)

    assert answer.status == 201
    assert {
        name: answer.body[name] for name in ("payment_method", "payment_status", "amount", "credits")
    } == {
        "payment_method": "credits",
        "payment_status": "paid",
        "amount": 0,
        "credits": 6,
    }
    assert app.balance("mary") == 1
    assert app.value("SELECT user_id FROM bookings") == "mary"
    assert app.value("SELECT performed_by_id FROM booking_audit_log WHERE table_name = 'bookings'") == "mary"
    assert app.violations() == []


@on_every_postgres
def test_a_hold_that_costs_nothing_is_booked_for_free(app: App) -> None:
    """201; free."""
    slot = app.slot(unit_amount=0)
    answer = app.book(app.hold(slot), "free")
    assert (answer.status, answer.body["payment_status"], answer.body["amount"]) == (201, "free", 0)
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.violations() == []


def test_add_ons_are_booked_with_their_line(app: App) -> None:
    """At the price that the hold froze."""
    hold = with_add_on(app, 600, pay_on_arrival=True)
    app.rows("UPDATE add_ons SET unit_amount = 900")
    answer = app.book(hold)
    assert answer.body["amount"] == 5100
    (add_on,) = answer.body["items"][0]["add_ons"]
    assert (add_on["quantity"], add_on["unit_amount"]) == (1, 600)


@pytest.mark.parametrize("method", ["pay_on_arrival", "credits", "free"])
def test_what_is_not_offered_is_refused(app: App, method: str) -> None:
    """On arrival and credits where the offering has them, free where it costs nothing."""
    app.grant("mary", 100)
    refused(app, app.hold(app.slot()), method, 409, "not-offered", **MARY)


@pytest.mark.parametrize(
    ("method", "offered"), [("pay_on_arrival", {"pay_on_arrival": True}), ("credits", {"credits_price": 1})]
)
def test_every_line_has_to_offer_it(app: App, method: str, offered: dict[str, Any]) -> None:
    """One line that does not refuses all."""
    app.grant("mary", 100)
    hold = app.hold({app.slot(**offered): 1, app.slot(): 1})
    refused(app, hold, method, 409, "not-offered", **MARY)


def test_an_add_on_that_costs_something_has_no_price_in_credits(app: App) -> None:
    """409; one that costs nothing is in the way of nobody."""
    app.grant("mary", 2)
    refused(app, with_add_on(app, 600, credits_price=1), "credits", 409, "not-offered", **MARY)
    assert app.book(with_add_on(app, 0, credits_price=1), "credits", **MARY).status == 201


def test_too_few_credits_change_nothing(app: App) -> None:
    """409; and a payment that is open stays as it was, to be paid."""
    app.grant("mary", 5)
    payment = app.payment(app.hold(app.slot(credits_price=3), 2))
    refused(app, payment.hold, "credits", 409, "insufficient-credits", **MARY)
    assert [intent.status for intent in app.intents(payment.hold)] == ["requires_payment_method"]


def test_more_credits_than_anybody_can_have_are_too_few(app: App) -> None:
    """The price of all units is more than the column could keep."""
    app.grant("mary", 5)
    hold = app.hold(app.slot(units=50, credits_price=2**31 - 1), 50)
    refused(app, hold, "credits", 409, "insufficient-credits", **MARY)


def test_credits_need_a_sign_in(app: App) -> None:
    """401, even for the holder of the token."""
    refused(app, app.hold(app.slot(credits_price=1)), "credits", 401, "unauthenticated")


def test_a_sign_in_that_is_sent_has_to_be_valid(app: App) -> None:
    """401 on arrival, too: nobody becomes nobody's booking by mistake."""
    hold = app.hold(app.slot(pay_on_arrival=True))
    refused(app, hold, "pay_on_arrival", 401, "unauthenticated", authorization="Bearer nonsense")


@pytest.mark.parametrize(
    "headers", [{}, {"x-reservation-token": "f" * 64}, MARY], ids=["none", "other", "no"]
)
def test_without_its_token_a_hold_is_unknown(app: App, headers: dict[str, str]) -> None:
    """404, whoever is signed in."""
    hold = app.hold(app.slot(pay_on_arrival=True))
    body = {"reservation_id": hold.id, "payment_method": "pay_on_arrival"}
    answer = app.call("bookings", "POST", "/bookings", body, headers)
    assert (answer.status, answer.problem) == (404, "unknown-reservation")
    assert app.count("bookings") == 0


def expired(app: App, hold: Hold) -> None:
    app.expire(hold)


def swept(app: App, hold: Hold) -> None:
    app.expire(hold)
    app.invoke("reservation-cleanup")


def cancelled(app: App, hold: Hold) -> None:
    assert app.cancel(hold).status == 200


def begun(app: App, _: Hold) -> None:
    app.rows("UPDATE slots SET starts_at = now() - interval '1 second'")


@pytest.mark.parametrize(
    ("ended", "problem"),
    [
        (expired, "reservation-expired"),
        (swept, "reservation-expired"),
        (cancelled, "reservation-cancelled"),
        (begun, "slot-closed"),
    ],
)
def test_a_hold_that_is_no_more_is_not_booked(
    app: App, ended: Callable[[App, Hold], None], problem: str
) -> None:
    """409 that says why."""
    hold = app.hold(app.slot(pay_on_arrival=True))
    ended(app, hold)
    refused(app, hold, "pay_on_arrival", 409, problem)


def test_what_is_paid_is_not_booked_again(app: App) -> None:
    """409 already-paid."""
    payment = app.booked(app.slot(pay_on_arrival=True))
    refused(app, payment.hold, "pay_on_arrival", 409, "already-paid")


def test_a_booking_that_fails_after_the_deduction_gives_the_credits_back(app: App) -> None:
    """By rollback: nothing is another than before; and once it works, they are spent once."""
    app.grant("mary", 2)
    hold = app.hold(app.slot(credits_price=2))
    app.rows("ALTER TABLE booking_items ADD CONSTRAINT poison CHECK (false) NOT VALID")
    before = app.dump()
    assert app.book(hold, "credits", **MARY).status == 500
    assert app.dump() == before
    app.rows("ALTER TABLE booking_items DROP CONSTRAINT poison")
    assert app.book(hold, "credits", **MARY).status == 201
    assert app.balance("mary") == 0
    assert app.violations() == []


# Again.


def body_of(answer: Answer) -> tuple[int, str, bool]:
    return answer.status, answer.text, answer.headers.get("Idempotent-Replayed") == "true"


@on_every_postgres
def test_the_same_key_is_answered_byte_for_byte(app: App) -> None:
    """Whatever became of the booking since; with another body it is 422, and nothing is done."""
    app.grant("mary", 5)
    hold = app.hold(app.slot(credits_price=2, pay_on_arrival=True))
    status, text, _ = body_of(app.book(hold, "credits", key="k", **MARY))
    app.rows("UPDATE bookings SET status = 'cancelled', payment_status = 'refunded'")
    assert body_of(app.book(hold, "credits", key="k", **MARY)) == (status, text, True)
    refused(app, hold, "pay_on_arrival", 422, "idempotency-key-reused", **{"idempotency-key": "k"})
    assert app.balance("mary") == 3


@on_every_postgres
def test_without_a_key_the_answer_is_what_there_is(app: App) -> None:
    """200 with the same booking, under another key, too, which then keeps that answer; by another means 409."""
    hold = app.hold(app.slot(pay_on_arrival=True, unit_amount=0))
    first = app.book(hold)
    assert body_of(app.book(hold)) == (200, first.text, False)
    assert body_of(app.book(hold, key="k")) == (200, first.text, False)
    assert body_of(app.book(hold, key="k")) == (200, first.text, True)
    refused(app, hold, "free", 409, "already-paid")
    assert app.count("bookings") == app.count("outbox") == 1


def test_refusals_are_not_stored_under_a_key(app: App) -> None:
    """The same key goes through once there are enough credits."""
    hold = app.hold(app.slot(credits_price=2))
    app.grant("mary", 1)
    assert app.book(hold, "credits", key="k", **MARY).problem == "insufficient-credits"
    app.grant("mary", 1)
    assert app.book(hold, "credits", key="k", **MARY).status == 201


# The limit of holds.


@on_every_postgres
def test_bookings_to_be_paid_on_arrival_count_as_holds(app: App) -> None:
    """Five of both together; what is cancelled, paid or past counts no more."""
    slot, soon = app.slot(units=50, pay_on_arrival=True), app.slot(pay_on_arrival=True)
    email = app.email()
    for wanted in (slot, slot, slot, soon):
        assert app.book(app.hold(wanted, email=email)).status == 201
    app.hold(slot, email=email)
    ended = [
        "UPDATE slots SET starts_at = now() - interval '1 second' WHERE id = %s",
        "UPDATE bookings SET status = 'cancelled' WHERE id = %s",
        "UPDATE bookings SET payment_status = 'paid' WHERE id = %s",
    ]
    bookings = [row[0] for row in app.rows("SELECT id FROM bookings ORDER BY created_at")]
    for statement, subject in zip(ended, [soon, *bookings[:2]], strict=True):
        answer = app.try_hold(slot, email=email)
        assert (answer.status, answer.problem) == (429, "too-many-holds")
        app.rows(statement, subject)
        app.hold(slot, email=email)
    assert app.try_hold(slot, email=email).status == 429
    assert app.try_hold(slot).status == 201


# What may be sent.


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"payment_method": "pay_now"}, "/payment_method"),
        ({"payment_method": "cash"}, "/payment_method"),
        ({"reservation_id": "x"}, "/reservation_id"),
        ({"amount": 0}, "/amount"),
    ],
)
def test_a_body_that_does_not_fit_is_422(app: App, change: dict[str, str], pointer: str) -> None:
    """With the field that is wrong."""
    body = {"reservation_id": str(uuid4()), "payment_method": "free", **change}
    answer = app.call("bookings", "POST", "/bookings", body)
    assert answer.status == 422
    assert [error["pointer"] for error in answer.body["errors"]] == [pointer]
