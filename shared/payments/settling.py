"""A payment fact and the one effect that it calls for, in one transaction of two round trips."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from database import settlement
from database.connection import Connection, Context, Database, only_value, transaction
from domain.payment import (
    Action,
    Decision,
    Hold,
    Observation,
    Payment,
    decide,
    reason_not_ours,
    reason_to_quarantine,
    tells_news,
)
from runtime.kill_points import kill_point
from runtime.observability import count, logger
from runtime.settings import StripeSettings, load

MAY_REFUND = frozenset([Action.REFUND, Action.RELEASE_AND_REFUND, Action.SEAT_AGAIN_OR_REFUND])
# Why an event is parked, and a person is told: it carries an id of ours.
NO_SUCH_PAYMENT = "no such payment here"
# Why one is parked in silence: somebody else shares the account.
FOREIGN = "not made by this system"


def locked_payment(locked: Mapping[str, Any]) -> tuple[Payment, Hold]:
    """The payment and its hold, from what `lock_payment` has read."""
    payment, hold = locked["payment"], locked["hold"]
    return (
        Payment(
            id=payment["id"],
            reservation_id=payment["reservation_id"],
            amount=payment["amount"],
            currency=payment["currency"],
            captured_amount=payment["captured_amount"],
            canceled=payment["canceled"],
            payment_intent_id=payment["payment_intent_id"],
            funds_awaited=payment["funds_awaited"],
            status=payment["status"],
            status_at=datetime.fromtimestamp(float(payment["status_at"]), UTC),
        ),
        Hold(status=hold["status"], begun=hold["begun"], booked_by=hold["booked_by"]),
    )


def reason_another_is_meant(settings: StripeSettings, event: Mapping[str, Any]) -> str | None:
    """Why the event is another account's, or of another mode; None where it is meant for us."""
    return reason_not_ours(
        livemode=event["livemode"],
        account=event.get("account"),
        our_livemode=settings.livemode,
        our_account=settings.stripe_account_id,
    )


def funds_window() -> timedelta:
    """How long a hold waits for money that is on its way."""
    return timedelta(days=load(StripeSettings).funds_days)


def write_effects(conn: Connection, payment: Payment, seen: Observation, decision: Decision) -> None:
    """Sends the effects of a decision into the transaction's last batch."""
    if decision.action is Action.NOTHING:
        return
    settlement.record_facts(
        conn,
        payment.id,
        payment_intent_id=seen.payment_intent_id,
        checkout_session_id=seen.checkout_session_id,
        captured_amount=seen.captured_amount,
        awaits_funds=seen.awaits_funds,
        status=seen.status,
        seen_at=seen.seen_at,
        funds=funds_window(),
    )
    reason = decision.reason or ""
    match decision.action:
        case Action.CONFIRM:
            settlement.confirm_hold(conn, payment.reservation_id, payment.id)
        case Action.SEAT_AGAIN_OR_REFUND:
            settlement.seat_again_or_refund(conn, payment.reservation_id, payment.id)
        case Action.RELEASE_AND_REFUND:
            settlement.release_and_refund(conn, payment.reservation_id, payment.id, reason)
        case Action.REFUND:
            settlement.refund_payment(conn, payment.id, reason)
        case Action.CANCEL:
            settlement.cancel_payment(conn, payment.id)
        case Action.NOTE:
            pass


def settle(database: Database, seen: Observation, context: Context) -> Decision:
    """Does what follows from what Stripe has just answered about a payment of ours.

    NOTHING with a reason: it cannot be about the payment that we asked for, and a person has to look.
    """

    def act(conn: Connection) -> Decision:
        with transaction(conn, context) as unit:
            with unit.opening():
                cursor = settlement.lock_payment(
                    conn,
                    payment_intent_id=seen.payment_intent_id,
                    checkout_session_id=seen.checkout_session_id,
                    payment_id=seen.payment_id,
                )
            locked = only_value(cursor)
            if locked is None:
                return Decision(Action.NOTHING, NO_SUCH_PAYMENT)
            payment, hold = locked_payment(locked)
            wrong = reason_to_quarantine(payment, seen)
            decision = Decision(Action.NOTHING, wrong) if wrong else decide(payment, hold, seen)
            if decision.action is Action.NOTE and not tells_news(payment, seen):
                return Decision(Action.NOTHING)  # whoever asks about a healthy payment writes nothing
            kill_point("settle.before-commit")
            with unit.committing():
                write_effects(conn, payment, seen, decision)
            return decision

    decision = database.run(act)
    if decision.action is Action.NOTHING and decision.reason:
        count("PaymentQuarantined")
        of_stripe = seen.payment_intent_id or seen.checkout_session_id
        logger.error("a payment needs a person", extra={"reason": decision.reason, "stripe_id": of_stripe})
    return decision


def tell_of_event(outcome: str, reason: str | None, *, ours: bool) -> None:
    """Tells the operator of an event that nobody but a person can do anything about; `ours`: it names a payment of ours."""
    if outcome == "quarantined" or (outcome == "parked" and ours):
        count("WebhookNeedsPerson")
        logger.error("an event needs a person", extra={"outcome": outcome, "reason": reason})
