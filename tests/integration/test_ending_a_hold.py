"""`DELETE /reservations/{id}`: the payment is closed at Stripe first, then the seats go."""

from tests.support.app import App
from tests.support.postgres import on_every_postgres


@on_every_postgres
def test_a_hold_without_a_payment_ends_at_once(app: App) -> None:
    """200, the seats are back; again: 200."""
    slot = app.slot()
    hold = app.hold(slot, 2)
    for _ in range(2):
        answer = app.cancel(hold)
        assert (answer.status, answer.body) == (200, {"status": "cancelled"})
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.show(hold)["status"] == "cancelled"
    assert app.violations() == []


@on_every_postgres
def test_an_open_payment_is_closed_at_stripe_first(app: App) -> None:
    """The intent is canceled at Stripe before the seats go; again: 200."""
    slot = app.slot()
    payment = app.payment(app.hold(slot))
    assert app.cancel(payment.hold).status == 200
    assert [intent.status for intent in app.intents(payment.hold)] == ["canceled"]
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.row("SELECT status, canceled_at IS NOT NULL FROM payment_intents_log") == ("canceled", True)
    assert app.cancel(payment.hold).status == 200
    assert app.violations() == []


def test_an_open_session_is_expired_first(app: App) -> None:
    """A hosted session is expired, since its intent cannot be canceled on its own."""
    slot = app.slot()
    payment = app.payment(app.hold(slot), mode="checkout_session")
    assert payment.session_id is not None
    assert app.cancel(payment.hold).status == 200
    assert app.stripe_client.v1.checkout.sessions.retrieve(payment.session_id).status == "expired"
    assert app.counts(slot) == (0, 0, 0, 0)


@on_every_postgres
def test_what_is_paid_is_not_cancelled(app: App) -> None:
    """409 already-paid for a booking."""
    slot = app.slot()
    payment = app.booked(slot)
    answer = app.cancel(payment.hold)
    assert (answer.status, answer.problem) == (409, "already-paid")
    assert app.counts(slot) == (0, 1, 0, 1)


@on_every_postgres
def test_a_payment_that_won_is_confirmed_instead(app: App) -> None:
    """Stripe says paid when asked to cancel: the hold is booked, and the caller hears 409 already-paid."""
    slot = app.slot()
    payment = app.payment(app.hold(slot))
    app.confirm(payment)
    answer = app.cancel(payment.hold)
    assert (answer.status, answer.problem) == (409, "already-paid")
    assert app.status(payment.hold) == "completed"
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.count("refunds") == 0
    event = app.event(payment.intent_id, "payment_intent.succeeded")
    assert app.outcome(event) == "stale"
    assert app.count("bookings") == 1
    assert app.violations() == []


@on_every_postgres
def test_while_stripe_does_not_say_the_hold_keeps_its_seats(app: App) -> None:
    """503 with Retry-After while Stripe is away; no new payment meanwhile; later 200."""
    slot = app.slot()
    payment = app.payment(app.hold(slot))
    path = f"/v1/payment_intents/{payment.intent_id}/cancel"
    app.faults({"method": "POST", "path": path, "times": 9, "timeout_before": True})

    answer = app.cancel(payment.hold)

    assert (answer.status, answer.problem) == (503, "payment-provider-unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert app.counts(slot) == (1, 0, 1, 0)
    assert app.pay(payment.hold).problem == "reservation-cancelled"
    app.faults()
    assert app.cancel(payment.hold).status == 200
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.violations() == []


def test_a_cancel_that_stripe_did_but_did_not_answer_goes_through(app: App) -> None:
    """Stripe's answer to the cancel is lost on the way: asked again, it says canceled."""
    payment = app.payment(app.hold(app.slot()))
    path = f"/v1/payment_intents/{payment.intent_id}/cancel"
    app.faults({"method": "POST", "path": path, "times": 1, "timeout_after": True})
    assert app.cancel(payment.hold).status == 200
    assert app.status(payment.hold) == "cancelled"


@on_every_postgres
def test_a_payment_that_nobody_heard_of_is_made_again_to_be_cancelled(app: App) -> None:
    """The intent's creation was lost on the way: the close finds it by its key and cancels it before the seats go."""
    slot = app.slot()
    hold = app.hold(slot)
    app.faults({"method": "POST", "path": "/v1/payment_intents", "times": 3, "timeout_after": True})
    assert app.pay(hold).status == 503
    assert app.value("SELECT status FROM payment_intents_log") == "unknown"
    app.faults()

    assert app.cancel(hold).status == 200

    assert [intent.status for intent in app.intents(hold)] == ["canceled"]
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.violations() == []


def test_while_another_call_is_at_stripe_it_is_503(app: App) -> None:
    """Somebody else's lease is running: come again; and they will see that the hold is closing."""
    payment = app.payment(app.hold(app.slot()))
    app.rows("UPDATE payment_intents_log SET lease_until = now() + interval '1 hour'")
    answer = app.cancel(payment.hold)
    assert (answer.status, answer.problem) == (503, "payment-provider-unavailable")
    assert app.value("SELECT closing_as FROM ticket_reservations") == "cancelled"
    assert app.status(payment.hold) == "active"


def test_a_hold_that_has_expired_may_still_be_cancelled(app: App) -> None:
    """200; and money that still comes is then refunded and not seated."""
    slot = app.slot()
    hold = app.hold(slot)
    app.expire(hold)
    app.invoke("reservation-cleanup")
    assert app.status(hold) == "expired"
    assert app.cancel(hold).status == 200
    assert app.status(hold) == "cancelled"
    assert app.counts(slot) == (0, 0, 0, 0)
