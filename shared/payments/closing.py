"""Ending a payment that is open at Stripe, so that its hold's seats can go: never before Stripe has agreed."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

from database.connection import Context, Database
from database.payments import finish_close, keep_payment, record_payment
from domain.payment import Action
from payments.creating import create_at_stripe
from payments.settling import funds_window, settle
from runtime.kill_points import kill_point
from runtime.observability import logger
from stripe_gateway.failures import StripeFailed, StripeRefused, StripeUnanswered
from stripe_gateway.gateway import StripeGateway, StripePayment

# As long as a close takes: looking, creating again and cancelling. One that Stripe makes slower still finds its lease taken
# over, and what it then writes is written by nobody: the attempt's number is no longer its own.
CLOSE_LEASE = timedelta(seconds=45)
# A kept hold is asked about again after this.
KEEP_FOR = timedelta(seconds=30)


class Closed(StrEnum):
    """How a close ended."""

    RELEASED = "released"
    DETACHED = "detached"
    CONFIRMED = "confirmed"
    REFUNDED = "refunded"
    KEPT = "kept"
    UNANSWERED = "unanswered"


def close_payment(
    database: Database, gateway: StripeGateway, payment: Mapping[str, Any], context: Context
) -> Closed:
    """Closes the payment, whose lease the caller has, at Stripe, and does what Stripe's answer calls for.

    canceled: the hold's seats go; one that is to be booked by other means, or is not over, is detached from the payment.
    Paid: it is confirmed (or, where nothing can be booked, refunded). Still on its way: the hold waits for it, with a
    deadline of its own. No answer: it is kept, and may be asked about again after 30 s.
    """
    ids = payment["payment_intent_id"], payment["checkout_session_id"]
    try:
        if not payment["known"]:
            # Nobody has heard what Stripe made of the request, so it is made again, under its key, to be cancelled.
            made = create_at_stripe(database, gateway, payment, context)
            ids = made.seen.payment_intent_id, made.seen.checkout_session_id
            _record(database, payment, made, context)
            kill_point("close.after-create")
        if _may_await_funds(payment) and gateway.fetch(*ids).seen.awaits_funds:
            # Its buyer has a voucher or a transfer under way: that is not cancelled under their hands.
            _keep(database, payment, context, awaits_funds=True)
            return Closed.KEPT
        answer = gateway.close(*ids)
        if None not in ids and answer.seen.payment_intent_id != ids[0]:
            # The payment's row has a second intent, told of before the page's own: the page's money belongs to its own
            # intent's row, and this one is closed by itself.
            if answer.seen.captured_amount > 0:
                settle(database, answer.seen, context)
            elif not answer.seen.canceled:
                _keep(database, payment, context, awaits_funds=answer.seen.awaits_funds)
                return Closed.KEPT
            answer = gateway.close(ids[0], None)
    except StripeRefused:
        # Stripe will not make it: there is nothing that anybody could pay.
        return _finish(database, payment, context)
    except (StripeUnanswered, StripeFailed):
        logger.warning("stripe did not say whether a payment is closed", extra={"payment_id": payment["id"]})
        _keep(database, payment, context, awaits_funds=False)
        return Closed.UNANSWERED
    kill_point("close.after-stripe")
    if answer.seen.captured_amount > 0:
        decision = settle(database, answer.seen, context)
        if decision.action is Action.NOTHING and decision.reason:
            _keep(database, payment, context, awaits_funds=False)
            return Closed.KEPT
        return Closed.CONFIRMED if decision.action in (Action.CONFIRM, Action.NOTHING) else Closed.REFUNDED
    if answer.seen.canceled:
        return _finish(database, payment, context)
    _keep(database, payment, context, awaits_funds=answer.seen.awaits_funds)
    return Closed.KEPT


def _may_await_funds(payment: Mapping[str, Any]) -> bool:
    """Whether money may be on its way that nobody has told us of: not by card, and not for a buyer who wants out."""
    methods = payment["parameters"].get("allowed_payment_method_types")
    return payment["closing_as"] == "expired" and not payment["funds_awaited"] and methods != ["card"]


def _finish(database: Database, payment: Mapping[str, Any], context: Context) -> Closed:
    ended_as = database.run(
        lambda conn: finish_close(conn, payment["id"], payment["attempt"], context=context)
    )
    match ended_as:
        case None:
            return Closed.KEPT  # the lease was lost: whoever has it now ends what is left to end
        case "completed":
            return Closed.CONFIRMED
        case "active":
            return Closed.DETACHED
        case _:
            return Closed.RELEASED


def _keep(database: Database, payment: Mapping[str, Any], context: Context, *, awaits_funds: bool) -> None:
    database.run(
        lambda conn: keep_payment(
            conn,
            payment["id"],
            payment["attempt"],
            awaits_funds=awaits_funds,
            wait=KEEP_FOR,
            funds=funds_window(),
            context=context,
        )
    )


def _record(database: Database, payment: Mapping[str, Any], made: StripePayment, context: Context) -> None:
    database.run(
        lambda conn: record_payment(
            conn,
            payment_id=payment["id"],
            attempt=payment["attempt"],
            payment_intent_id=made.seen.payment_intent_id,
            checkout_session_id=made.seen.checkout_session_id,
            status=made.seen.status,
            context=context,
        )
    )
