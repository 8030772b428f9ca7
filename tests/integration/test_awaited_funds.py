"""Money that takes days: debits that are processing, vouchers, sessions complete but unpaid."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.app import App, Payment
from tests.support.logs import Logs
from tests.support.postgres import on_every_postgres

MODES = ["payment_intent", "checkout_session"]
# A debit, and a voucher; each in the currency that it is there for.
DEBIT, VOUCHER = "pm_success_de", "pm_boleto"
METHODS = [DEBIT, VOUCHER]
CURRENCIES = {DEBIT: "eur", VOUCHER: "brl"}


@pytest.fixture(autouse=True)
def slow_banks(app: App) -> None:
    """Methods that take days are offered; nothing ends before a test says so."""
    app.set(PAYMENT_METHOD_TYPES="card,sepa_debit,boleto")
    app.emulator.faults(settle_s=3600)


def slot_for(app: App, method: str, **columns: Any) -> str:
    return app.slot(currency=CURRENCIES[method], **columns)


def submitted(app: App, slot: str, method: str, mode: str = "payment_intent") -> Payment:
    """A payment whose buyer has chosen a method that takes days."""
    payment = app.payment(app.hold(slot), mode=mode)
    app.confirm(payment, method)
    return payment


def intent_id(app: App, payment: Payment) -> str:
    return str(app.intents(payment.hold)[0].id)


def tell(app: App, payment: Payment) -> list[str]:
    """What becomes of all that we have not been told of the payment, oldest first."""
    known = {event_id for (event_id,) in app.rows("SELECT event_id FROM webhook_events_log")}
    events = [*app.events(payment.session_id), *app.events(intent_id(app, payment))]
    due = [event for event in events if event["id"] not in known]
    return [app.outcome(event) for event in due if event["type"].startswith(("payment_intent.", "checkout."))]


def end(app: App, payment: Payment, outcome: str) -> None:
    status, body = app.emulator.act(f"/payments/{intent_id(app, payment)}", outcome=outcome)
    assert status == 200, body


def deadline(app: App, payment: Payment) -> timedelta:
    """How far away the end of the hold is."""
    expires_at = app.value("SELECT expires_at FROM ticket_reservations WHERE id = %s", payment.hold.id)
    return expires_at - datetime.now(UTC)


def days(number: float) -> Any:
    return pytest.approx(number * 86400, abs=120)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", METHODS)
@on_every_postgres
def test_a_hold_whose_money_is_on_its_way_waits_for_it(app: App, mode: str, method: str) -> None:
    """Seven days from when Stripe said so, through every clean-up; then the money comes and it is booked."""
    slot = slot_for(app, method)
    payment = submitted(app, slot, method, mode)
    assert "processed" in tell(app, payment)
    assert deadline(app, payment).total_seconds() == days(7)
    app.rows("UPDATE ticket_reservations SET ceiling_at = now() - interval '1 minute'")
    assert app.invoke("reservation-cleanup")["released"] == 0
    shown = app.show(payment.hold)
    assert shown["status"] == "active"
    assert app.counts(slot) == (1, 0, 1, 0)
    end(app, payment, "succeeded")
    assert "processed" in tell(app, payment)
    assert app.status(payment.hold) == "completed"
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.violations() == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("method", "outcome"), [(DEBIT, "failed"), (VOUCHER, "expired")])
def test_money_that_does_not_come_after_all_lets_the_seats_go(
    app: App, mode: str, method: str, outcome: str
) -> None:
    """The bank refuses, or the voucher runs out: the ceiling counts again, and the hold ends."""
    slot = slot_for(app, method)
    payment = submitted(app, slot, method, mode)
    tell(app, payment)
    app.rows("UPDATE ticket_reservations SET ceiling_at = now() - interval '1 minute'")
    end(app, payment, outcome)
    tell(app, payment)
    app.leases_over()
    app.invoke("reservation-cleanup")
    assert app.status(payment.hold) == "expired"
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.violations() == []


def test_nobody_waits_longer_than_the_slot_lasts(app: App) -> None:
    """What begins in two days is not held for seven."""
    payment = submitted(app, slot_for(app, VOUCHER, starts_in="2 days"), VOUCHER)
    tell(app, payment)
    assert deadline(app, payment).total_seconds() == days(2)


def test_how_long_is_a_setting(app: App) -> None:
    """FUNDS_DAYS."""
    app.set(FUNDS_DAYS="3")
    payment = submitted(app, slot_for(app, VOUCHER), VOUCHER)
    tell(app, payment)
    assert deadline(app, payment).total_seconds() == days(3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", METHODS)
@on_every_postgres
def test_a_clean_up_that_nobody_has_told_does_not_cancel_a_voucher(app: App, mode: str, method: str) -> None:
    """The webhook was lost: the clean-up looks before it closes, and the hold waits from then on."""
    slot = slot_for(app, method)
    payment = submitted(app, slot, method, mode)
    app.expire(payment.hold)
    assert app.invoke("reservation-cleanup")["kept"] == 1
    assert app.status(payment.hold) == "active"
    assert deadline(app, payment).total_seconds() == days(7)
    assert app.value("SELECT closing_at FROM ticket_reservations") is None
    app.leases_over()
    assert app.invoke("reservation-cleanup")["kept"] == 0
    end(app, payment, "succeeded")
    tell(app, payment)
    assert app.status(payment.hold) == "completed"
    assert app.violations() == []


@on_every_postgres
def test_at_its_deadline_a_voucher_is_cancelled_and_the_seats_go(app: App, logs: Logs) -> None:
    """Nobody has paid it in its time."""
    slot = slot_for(app, VOUCHER)
    payment = submitted(app, slot, VOUCHER)
    tell(app, payment)
    app.expire(payment.hold)
    assert app.invoke("reservation-cleanup")["released"] == 1
    assert app.intents(payment.hold)[0].status == "canceled"
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.violations() == []


def test_past_its_deadline_a_debit_that_is_processing_keeps_its_seats_and_is_alarmed(
    app: App, logs: Logs
) -> None:
    """Stripe cancels no debit that is on its way: seats go only once Stripe has said how it ended."""
    slot = slot_for(app, DEBIT)
    payment = submitted(app, slot, DEBIT)
    tell(app, payment)
    app.rows("UPDATE ticket_reservations SET ceiling_at = now() - interval '1 minute'")
    app.expire(payment.hold)
    logs.clear()
    assert app.invoke("reservation-cleanup")["kept"] == 1
    assert "HoldPastCeiling" in logs.counted()
    assert app.counts(slot) == (1, 0, 1, 0)
    end(app, payment, "failed")
    tell(app, payment)
    app.leases_over()
    assert app.invoke("reservation-cleanup")["released"] == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_buyer_may_cancel_a_voucher_but_no_debit_that_is_on_its_way(app: App, method: str) -> None:
    """A voucher is cancelled at Stripe, and the seats go; a debit cannot be, and they stay."""
    slot = slot_for(app, method)
    payment = submitted(app, slot, method)
    tell(app, payment)
    answer = app.cancel(payment.hold)
    if method == VOUCHER:
        assert answer.status == 200
        assert app.counts(slot) == (0, 0, 0, 0)
        return
    assert answer.status == 503
    assert app.counts(slot) == (1, 0, 1, 0)
    end(app, payment, "succeeded")
    tell(app, payment)
    assert app.violations() == []


def test_a_hold_that_awaits_funds_is_not_paid_a_second_time(app: App) -> None:
    """Another call gets the same payment, and the other mode is refused."""
    payment = submitted(app, app.slot(), DEBIT)
    tell(app, payment)
    again = app.pay(payment.hold)
    assert (again.status, again.body["payment_id"], again.body["status"]) == (200, payment.id, "processing")
    assert app.pay(payment.hold, mode="checkout_session").problem == "payment-in-progress"
    assert len(app.intents(payment.hold)) == 1


def test_a_hold_that_awaits_funds_counts_as_a_hold(app: App) -> None:
    """Five a customer, whatever they wait for."""
    slot, email = app.slot(units=20), app.email()
    for _ in range(5):
        payment = app.payment(app.hold(slot, email=email))
        app.confirm(payment, DEBIT)
        tell(app, payment)
    assert app.try_hold(slot, email=email).problem == "too-many-holds"


def test_cards_only_by_default(app: App) -> None:
    """Nothing that takes days is offered unless it is asked for."""
    app.unset("PAYMENT_METHOD_TYPES")
    payment = app.payment(app.hold(app.slot()))
    (made,) = app.intents(payment.hold)
    assert made.to_dict()["allowed_payment_method_types"] == ["card"]
    assert app.value("SELECT parameters -> 'allowed_payment_method_types' FROM payment_intents_log") == [
        "card"
    ]
