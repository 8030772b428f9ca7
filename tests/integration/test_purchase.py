"""A purchase from the first call to the booking, in both modes."""

from tests.support.app import App
from tests.support.postgres import on_every_postgres

pytestmark = on_every_postgres


def test_a_paid_hold_becomes_a_booking(app: App) -> None:
    """Hold, pay, Stripe's word: a confirmed and paid booking, the seats sold, the customer told."""
    slot = app.slot()

    payment = app.booked(slot, 3)

    assert app.counts(slot) == (0, 3, 0, 1)
    assert app.row("SELECT status, payment_method, payment_status, amount, currency FROM bookings") == (
        "confirmed",
        "pay_now",
        "paid",
        13500,
        "eur",
    )
    shown = app.show(payment.hold)
    assert shown["status"] == "completed"
    assert shown["booking_id"] == str(app.value("SELECT id FROM bookings"))
    assert app.rows("SELECT kind, status, payload ->> 'type' FROM outbox") == [
        ("notification", "pending", "booked")
    ]
    assert app.violations() == []


def test_a_paid_checkout_session_becomes_a_booking(app: App) -> None:
    """The same through Stripe's hosted page."""
    slot = app.slot()
    payment = app.payment(app.hold(slot, 2), mode="checkout_session")
    app.confirm(payment)

    assert app.outcome(app.event(payment.session_id, "checkout.session.completed")) == "processed"

    assert app.counts(slot) == (0, 2, 0, 1)
    assert app.value("SELECT payment_intent_id FROM payment_intents_log") is not None
    assert app.violations() == []
