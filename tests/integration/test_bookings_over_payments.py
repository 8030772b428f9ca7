"""`POST /bookings` while a payment is open for the hold: Stripe closes it first, or nothing is booked."""

import pytest

from tests.support.app import App, Payment
from tests.support.postgres import on_every_postgres
from tests.support.sign_in import SECRET, token


@pytest.fixture
def payment(app: App) -> Payment:
    """A payment that is open at Stripe, of a hold that may be booked on arrival."""
    return app.payment(app.hold(app.slot(pay_on_arrival=True)))


def slot_counts(app: App) -> tuple[int, int]:
    """What is held and sold of the only slot, in units."""
    return app.row("SELECT held_units, sold_units FROM slots")


def away(app: App, payment: Payment) -> None:
    """Stripe does not answer who wants to cancel the intent."""
    path = f"/v1/payment_intents/{payment.intent_id}/cancel"
    app.faults({"method": "POST", "path": path, "times": 9, "timeout_before": True})


@on_every_postgres
def test_an_open_payment_is_closed_at_stripe_first(app: App) -> None:
    """Intent canceled, then booked; what Stripe says of it afterwards changes nothing, and nobody can pay it any more."""
    slot = app.slot(pay_on_arrival=True)
    payment = app.payment(app.hold(slot))

    answer = app.book(payment.hold)

    assert answer.status == 201
    assert [intent.status for intent in app.intents(payment.hold)] == ["canceled"]
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.outcome(app.event(payment.intent_id, "payment_intent.canceled")) == "stale"
    assert app.pay(payment.hold).problem == "already-paid"
    assert app.row("SELECT payment_id, closing_at, closing_as FROM ticket_reservations") == (None, None, None)
    assert app.violations() == []


def test_an_open_session_is_expired_first(app: App) -> None:
    """A hosted session is expired."""
    payment = app.payment(app.hold(app.slot(pay_on_arrival=True)), mode="checkout_session")
    assert payment.session_id is not None
    assert app.book(payment.hold).status == 201
    assert app.stripe_client.v1.checkout.sessions.retrieve(payment.session_id).status == "expired"


@on_every_postgres
def test_a_payment_that_won_is_booked_instead(app: App) -> None:
    """Paid in the other tab: 409 already-paid, and the booking is the paid one."""
    slot = app.slot(pay_on_arrival=True)
    payment = app.payment(app.hold(slot))
    app.confirm(payment)
    answer = app.book(payment.hold)
    assert (answer.status, answer.problem) == (409, "already-paid")
    assert app.row("SELECT payment_method, payment_status FROM bookings") == ("pay_now", "paid")
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.count("refunds") == 0
    assert app.violations() == []


@on_every_postgres
def test_while_stripe_does_not_say_nothing_is_booked(app: App) -> None:
    """503, the hold keeps its seats, and no other payment is opened; once Stripe answers: 201."""
    slot = app.slot(pay_on_arrival=True)
    payment = app.payment(app.hold(slot))
    away(app, payment)

    answer = app.book(payment.hold)

    assert (answer.status, answer.problem) == (503, "payment-provider-unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert app.counts(slot) == (1, 0, 1, 0)
    assert app.pay(payment.hold).problem == "request-in-progress"
    app.faults()
    assert app.book(payment.hold).status == 201
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.violations() == []


def test_credits_are_not_spent_before_the_payment_is_closed(app: App) -> None:
    """Stripe does not say: the balance is as it was."""
    payment = app.payment(app.hold(app.slot(credits_price=2)))
    app.grant("mary", 2)
    away(app, payment)
    app.set(JWT_SECRET=SECRET)
    mary = {"authorization": f"Bearer {token(sub='mary')}"}
    assert app.book(payment.hold, "credits", **mary).status == 503
    assert app.balance("mary") == 2
    app.faults()
    assert app.book(payment.hold, "credits", **mary).status == 201
    assert app.balance("mary") == 0
    assert app.violations() == []


def test_a_close_that_its_caller_gave_up_leaves_a_hold_that_can_be_paid(app: App, payment: Payment) -> None:
    """The clean-up closes the payment: the hold is kept, and has a new payment or a booking, as its buyer likes."""
    away(app, payment)
    assert app.book(payment.hold).status == 503
    app.faults()
    app.leases_over()
    result = app.invoke("reservation-cleanup")
    assert (result["kept"], result["released"]) == (1, 0)
    assert slot_counts(app) == (1, 0)
    assert app.pay(payment.hold).status == 201
    assert app.book(payment.hold).status == 201
    assert {intent.status for intent in app.intents(payment.hold)} == {"canceled"}
    assert app.violations() == []


def test_a_close_that_outlives_the_hold_gives_its_seats_back(app: App, payment: Payment) -> None:
    """Its time is over while Stripe does not say: then it is a hold that has expired, like any other."""
    away(app, payment)
    assert app.book(payment.hold).status == 503
    app.expire(payment.hold)
    app.faults()
    app.leases_over()
    assert app.invoke("reservation-cleanup")["released"] == 1
    assert app.status(payment.hold) == "expired"
    assert slot_counts(app) == (0, 0)
    assert app.book(payment.hold).problem == "reservation-expired"
    assert app.violations() == []


def test_a_buyer_who_gave_it_up_may_cancel(app: App, payment: Payment) -> None:
    """The last wish counts: cancelled, and its seats are back."""
    away(app, payment)
    assert app.book(payment.hold).status == 503
    app.faults()
    app.leases_over()
    assert app.cancel(payment.hold).status == 200
    assert app.status(payment.hold) == "cancelled"
    assert slot_counts(app) == (0, 0)
    assert app.book(payment.hold).problem == "reservation-cancelled"


def test_while_another_call_is_at_stripe_it_is_409(app: App, payment: Payment) -> None:
    """Come again; and whoever is there is not disturbed."""
    app.rows("UPDATE payment_intents_log SET lease_until = now() + interval '1 hour'")
    before = app.dump()
    answer = app.book(payment.hold)
    assert (answer.status, answer.problem) == (409, "request-in-progress")
    assert int(answer.headers["Retry-After"]) > 0
    assert app.dump() == before


def test_a_payment_that_nobody_heard_of_is_made_again_to_be_closed(app: App) -> None:
    """The intent's creation was lost on the way: it is found by its key and cancelled before anything is booked."""
    hold = app.hold(app.slot(pay_on_arrival=True))
    app.faults({"method": "POST", "path": "/v1/payment_intents", "times": 3, "timeout_after": True})
    assert app.pay(hold).status == 503
    app.faults()
    assert app.book(hold).status == 201
    assert [intent.status for intent in app.intents(hold)] == ["canceled"]
    assert app.violations() == []


def test_a_payment_that_was_cancelled_at_stripe_is_out_of_the_way(app: App, payment: Payment) -> None:
    """Not by us: 201."""
    assert payment.intent_id is not None
    app.stripe_client.v1.payment_intents.cancel(payment.intent_id)
    assert app.book(payment.hold).status == 201
    assert app.violations() == []


def test_money_on_its_way_keeps_the_hold_for_itself(app: App) -> None:
    """A debit that is processing cannot be cancelled: 503, and the hold waits for its money, past its own time."""
    app.set(PAYMENT_METHOD_TYPES="card,sepa_debit")
    app.emulator.faults(settle_s=3600)
    payment = app.payment(app.hold(app.slot(pay_on_arrival=True)))
    app.confirm(payment, "pm_success_de")
    answer = app.book(payment.hold)
    assert (answer.status, answer.problem) == (503, "payment-provider-unavailable")
    row = "SELECT closing_as, expires_at > now() + interval '1 day' FROM ticket_reservations"
    assert app.row(row) == (None, True)
    assert app.count("bookings") == 0


def test_a_voucher_that_its_buyer_does_not_want_any_more_is_cancelled(app: App) -> None:
    """Nobody has paid it yet: 201, and it cannot be paid."""
    app.set(PAYMENT_METHOD_TYPES="card,boleto")
    payment = app.payment(app.hold(app.slot(pay_on_arrival=True, currency="brl")))
    app.confirm(payment, "pm_boleto")
    assert app.book(payment.hold).status == 201
    assert [intent.status for intent in app.intents(payment.hold)] == ["canceled"]
    assert app.violations() == []
