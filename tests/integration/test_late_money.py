"""Paid, and the hold is gone: the same seats again, all of them, or the money back. Never a third thing."""

from typing import Any

import pytest

from tests.support.app import App, Payment
from tests.support.postgres import on_every_postgres

pytestmark = on_every_postgres


def paid_but_lost(app: App, wanted: str | dict[str, int], units: int = 1) -> Payment:
    """A payment that Stripe has taken, whose hold has expired and given its seats back before we heard of it."""
    payment = app.payment(app.hold(wanted, units))
    app.confirm(payment)
    app.expire(payment.hold)
    app.rows("SELECT release_holds(ARRAY[%s]::uuid[], 'expired')", payment.hold.id)
    assert app.status(payment.hold) == "expired"
    return payment


def told(app: App, payment: Payment) -> str:
    return app.outcome(app.event(payment.intent_id, "payment_intent.succeeded"))


def refund(app: App) -> tuple[Any, ...]:
    return app.row("SELECT amount, status, reason FROM refunds")


def notified(app: App) -> list[tuple[Any, ...]]:
    return app.rows(
        """
        SELECT payload ->> 'type', payload ->> 'reason', payload -> 'customer' ->> 'email'
        FROM outbox WHERE kind = 'notification' ORDER BY created_at
        """
    )


def sent_back(app: App, payment: Payment) -> None:
    """The outbox sends the money back, and Stripe has it."""
    app.set(NOTIFICATION_WEBHOOK_URL="")
    app.invoke("deliver-outbox")
    refunds = app.stripe_client.v1.refunds.list({"payment_intent": str(payment.intent_id)}).data
    assert [(made.amount, made.status) for made in refunds] == [(payment.hold.amount, "succeeded")]
    assert refund(app)[:2] == (payment.hold.amount, "succeeded")
    assert (
        app.value("SELECT refunded_amount FROM payment_intents_log WHERE id = %s", payment.id)
        == payment.hold.amount
    )
    assert app.violations() == []


def test_seats_that_are_free_are_taken_again(app: App) -> None:
    """Paid after expiry, seats free: booked, and no money moves."""
    one, two = app.slot(units=2), app.slot(units=2)
    payment = paid_but_lost(app, {one: 2, two: 1})

    assert told(app, payment) == "processed"

    assert app.status(payment.hold) == "completed"
    assert app.counts(one) == (0, 2, 0, 1)
    assert app.counts(two) == (0, 1, 0, 1)
    assert app.count("refunds") == 0
    assert [row[0] for row in notified(app)] == ["booked"]
    assert app.violations() == []


def test_seats_that_are_gone_are_refunded_in_the_same_commit(app: App) -> None:
    """One slot of two is sold to others: all or nothing, so the money goes back and the customer is told."""
    one, two = app.slot(units=2), app.slot(units=2)
    payment = paid_but_lost(app, {one: 2, two: 1})
    app.hold(one)

    assert told(app, payment) == "processed"

    assert app.status(payment.hold) == "expired"
    assert app.counts(one) == (1, 0, 1, 0)
    assert app.counts(two) == (0, 0, 0, 0)
    assert refund(app) == (payment.hold.amount, "pending", "paid-late-sold-out")
    assert notified(app) == [("could-not-be-seated", "paid-late-sold-out", payment.hold.email)]
    assert app.violations() == []
    sent_back(app, payment)


def test_seats_that_only_expired_holds_have_are_taken_from_them(app: App) -> None:
    """The rules are those of a new hold: what is over gives way."""
    slot = app.slot(units=1)
    payment = paid_but_lost(app, slot)
    other = app.hold(slot)
    app.expire(other)
    assert told(app, payment) == "processed"
    assert app.status(other) == "expired"
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.violations() == []


@pytest.mark.parametrize(
    "closed",
    [
        "UPDATE slots SET starts_at = now() - interval '1 second'",
        "UPDATE slots SET is_legacy = true",
        "UPDATE offerings SET retired_at = now()",
    ],
    ids=["past", "legacy", "retired"],
)
def test_a_slot_that_is_closed_is_refunded(app: App, closed: str) -> None:
    """Past, left over from an older schedule, or retired: refunded, with the reason for the operator to see."""
    slot = app.slot()
    payment = paid_but_lost(app, slot)
    app.rows(closed)
    assert told(app, payment) == "processed"
    assert refund(app) == (4500, "pending", "paid-late-slot-closed")
    assert app.counts(slot) == (0, 0, 0, 0)
    sent_back(app, payment)


def test_money_for_a_cancelled_hold_is_refunded(app: App) -> None:
    """The buyer had said no: refunded although the seats are free."""
    slot = app.slot()
    payment = app.payment(app.hold(slot))
    app.confirm(payment)
    app.rows("SELECT release_holds(ARRAY[%s]::uuid[], 'cancelled')", payment.hold.id)
    assert told(app, payment) == "processed"
    assert refund(app) == (4500, "pending", "reservation-cancelled")
    assert app.counts(slot) == (0, 0, 0, 0)
    sent_back(app, payment)


def test_money_for_a_hold_that_was_booked_otherwise_is_refunded(app: App) -> None:
    """Booked on arrival while the tab was open, then the tab pays: the booking stays, the money goes back."""
    slot = app.slot()
    payment = app.payment(app.hold(slot))
    app.confirm(payment)
    app.rows(
        """
        UPDATE slots SET held_units = 0, held_bookings = 0, sold_units = 1, sold_bookings = 1;
        UPDATE ticket_reservations SET payment_id = NULL;
        SELECT insert_booking(id, NULL, 'pay_on_arrival', 'pending') FROM ticket_reservations;
        """
    )
    assert app.status(payment.hold) == "completed"
    assert told(app, payment) == "processed"
    assert refund(app) == (4500, "pending", "booked-otherwise")
    assert app.row("SELECT status, payment_method, payment_status FROM bookings") == (
        "confirmed",
        "pay_on_arrival",
        "pending",
    )
    sent_back(app, payment)
    assert app.value("SELECT payment_status FROM bookings") == "pending"


def test_a_second_intent_for_the_same_payment_is_refunded(app: App) -> None:
    """Stripe made two intents under our payment's id and both were paid: one is booked, the other goes back."""
    slot = app.slot()
    payment = app.payment(app.hold(slot))
    second = app.stripe_client.v1.payment_intents.create(
        {"amount": 4500, "currency": "eur", "metadata": {"holdfast_payment_id": payment.id}}
    )
    app.confirm(payment)
    app.stripe_client.v1.payment_intents.confirm(second.id, {"payment_method": "pm_card_visa"})
    assert told(app, payment) == "processed"
    assert app.outcome(app.event(second.id, "payment_intent.succeeded")) == "processed"
    assert refund(app) == (4500, "pending", "paid-twice")
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.value("SELECT count(*) FROM payment_intents_log WHERE payment_intent_id = %s", second.id) == 1
    assert app.violations() == []


def test_money_for_a_hold_whose_slot_has_begun_is_refunded(app: App) -> None:
    """Still held, but the time has come: nothing is booked in the past; seats and money go back."""
    slot = app.slot()
    payment = app.payment(app.hold(slot))
    app.confirm(payment)
    app.rows("UPDATE slots SET starts_at = now() - interval '1 second'")
    assert told(app, payment) == "processed"
    assert refund(app) == (4500, "pending", "slot-begun")
    assert app.status(payment.hold) == "expired"
    assert app.counts(slot) == (0, 0, 0, 0)
    sent_back(app, payment)


def test_late_money_is_placed_once(app: App) -> None:
    """However often it is told, one refund."""
    slot = app.slot(units=1)
    payment = paid_but_lost(app, slot)
    app.hold(slot)
    event = app.event(payment.intent_id, "payment_intent.succeeded")
    assert [app.outcome(event), app.outcome(event), app.outcome(event | {"id": "evt_again"})] == [
        "processed",
        "duplicate",
        "stale",
    ]
    assert app.count("refunds") == 1
    assert app.violations() == []


def test_the_price_of_the_hold_is_charged_and_kept_on_the_line(app: App) -> None:
    """An add-on gets dearer between hold and payment: the held price is charged, booked and kept."""
    slug = app.offering()
    add_on = app.add_on(slug, 600)
    body = app.hold_request(app.slot(slug), 2)
    body["items"][0]["add_ons"] = [{"id": add_on, "quantity": 2}]
    held = app.call("reservations", "POST", "/reservations", body).body
    app.rows("UPDATE add_ons SET unit_amount = 900")
    app.rows("UPDATE offerings SET unit_amount = 9000")
    answer = app.call(
        "create-payment-intent",
        "POST",
        "/",
        {"reservation_id": held["id"]},
        {"x-reservation-token": held["token"]},
    )
    assert answer.body["amount"] == 2 * 4500 + 2 * 600
    intent_id = answer.body["payment_intent_id"]
    app.stripe_client.v1.payment_intents.confirm(intent_id, {"payment_method": "pm_card_visa"})
    assert app.outcome(app.event(intent_id, "payment_intent.succeeded")) == "processed"
    assert app.row("SELECT units, unit_amount FROM booking_items") == (2, 4500)
    assert app.row("SELECT quantity, unit_amount FROM booking_add_ons") == (2, 600)
    assert app.value("SELECT amount FROM bookings") == 10200
    assert app.violations() == []
