"""A verified event of Stripe's, applied once whoever brings it: claim and lock, decide, effects and mark, commit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from database import webhook_events
from database.connection import Connection, Context, Database, only_value, transaction
from domain import refusals
from domain.payment import Action, Decision, Observation, Payment, decide, reason_to_quarantine
from payments.defects import report_defect
from payments.ledger import LEDGER_TYPES, apply_ledger_event
from payments.settling import (
    FOREIGN,
    MAY_REFUND,
    NO_SUCH_PAYMENT,
    locked_payment,
    reason_another_is_meant,
    tell_of_event,
    write_effects,
)
from payments.versions import current_object
from runtime.kill_points import kill_point
from runtime.observability import count, identify, logger
from runtime.outbox_kick import kick_outbox
from runtime.settings import StripeSettings
from stripe_gateway.gateway import StripeGateway
from stripe_gateway.observations import observe, request_id_in

PAYMENT_TYPES = frozenset(
    [
        f"payment_intent.{what}"
        for what in ("created", "processing", "requires_action", "succeeded", "payment_failed")
    ]
    + ["payment_intent.canceled", "checkout.session.completed", "checkout.session.expired"]
    + ["checkout.session.async_payment_succeeded", "checkout.session.async_payment_failed"]
)
ACTED_ON = PAYMENT_TYPES | LEDGER_TYPES
NO_EFFECT = Decision(Action.NOTHING)


def apply_event(
    database: Database,
    gateway: StripeGateway,
    settings: StripeSettings,
    event: Mapping[str, Any],
    context: Context,
) -> str:
    """What became of the event: processed, duplicate, ignored, stale, parked or quarantined.

    Raises `EventNotApplied` once the event is kept as `failed`, and `DatabaseUnavailable` where nothing could be kept.
    """
    # Of an event before, in the same invocation.
    logger.remove_keys(["payment_id", "reservation_id", "origin_request_id"])
    identify(stripe_event_id=event["id"], origin_request_id=request_id_in(event["data"]["object"]))
    context = {**context, "stripe_event_id": event["id"]}
    try:
        outcome = _apply(database, gateway, settings, event, context)
    except refusals.DatabaseUnavailable:
        raise
    except Exception as failure:
        logger.exception("the event was not applied")
        count("WebhookFailed")
        if _keep_as_failed(database, event, failure, context) == "dead":
            count("WebhookDead")
            logger.error("an event is dead: a person has to look")
        report_defect(failure)
        raise refusals.EventNotApplied from failure
    count("Webhook" + outcome.title())
    logger.info("webhook", extra={"outcome": outcome, "event_type": event["type"]})
    return outcome


def _apply(
    database: Database,
    gateway: StripeGateway,
    settings: StripeSettings,
    event: Mapping[str, Any],
    context: Context,
) -> str:
    if event["type"] in PAYMENT_TYPES:
        return _apply_payment_fact(database, settings, event, _observation(gateway, event), context)
    if event["type"] in LEDGER_TYPES:
        return apply_ledger_event(database, gateway, settings, event, context)
    return database.run(
        lambda conn: webhook_events.note_webhook_event(
            conn,
            event_id=event["id"],
            event_type=event["type"],
            status="ignored",
            reason=None,
            payload={},
            request_id=context["request_id"] or "",
            context=context,
        )
    )


def _observation(gateway: StripeGateway, event: Mapping[str, Any]) -> Observation:
    """What the event says; an event in another API version is only a hint to look the object up."""
    kind = "checkout.session" if event["type"].startswith("checkout.") else "payment_intent"
    seen = observe(
        current_object(gateway, kind, event), seen_at=datetime.fromtimestamp(event["created"], UTC)
    )
    if event["type"] == "checkout.session.async_payment_failed":
        # The session is complete and can never be paid again: as good as canceled.
        seen = replace(seen, canceled=True, awaits_funds=False)
    return seen


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an event, and the effects that go with it."""

    outcome: str
    reason: str | None = None
    payment: Payment | None = None
    decision: Decision = NO_EFFECT


def _judge(
    settings: StripeSettings, event: Mapping[str, Any], claimed: Mapping[str, Any], seen: Observation
) -> Verdict:
    """What the event calls for, given its row and the locked rows of its payment and hold."""
    if claimed["status"] in webhook_events.DONE:
        return Verdict("duplicate")
    wrong = reason_another_is_meant(settings, event)
    if "payment" not in claimed:
        if wrong:
            return Verdict("quarantined", wrong)
        return Verdict("parked", NO_SUCH_PAYMENT if seen.payment_id else FOREIGN)
    payment, hold = locked_payment(claimed)
    identify(payment_id=payment.id, reservation_id=payment.reservation_id)
    if wrong := wrong or reason_to_quarantine(payment, seen):
        return Verdict("quarantined", wrong, payment)
    decision = decide(payment, hold, seen)
    outcome = "stale" if decision.action is Action.NOTHING else "processed"
    return Verdict(outcome, decision.reason, payment, decision)


def _apply_payment_fact(
    database: Database,
    settings: StripeSettings,
    event: Mapping[str, Any],
    seen: Observation,
    context: Context,
) -> str:
    verdict = database.run(lambda conn: claim_and_apply(conn, settings, event, seen, context))
    kill_point("webhook.committed")
    tell_of_event(verdict.outcome, verdict.reason, ours=seen.payment_id is not None)
    if verdict.decision.action in MAY_REFUND:
        kick_outbox(settings.deliver_outbox_function)
    return verdict.outcome


def claim_and_apply(
    conn: Connection,
    settings: StripeSettings,
    event: Mapping[str, Any],
    seen: Observation,
    context: Context,
) -> Verdict:
    """One transaction, two round trips."""
    with transaction(conn, context) as unit:
        with unit.opening():
            cursor = webhook_events.claim_webhook_event(
                conn,
                event_id=event["id"],
                event_type=event["type"],
                payload=event,
                request_id=context["request_id"] or "",
                payment_intent_id=seen.payment_intent_id,
                checkout_session_id=seen.checkout_session_id,
                payment_id=seen.payment_id,
            )
        verdict = _judge(settings, event, only_value(cursor), seen)
        kill_point("webhook.claimed")
        with unit.committing():
            if verdict.payment is not None:
                write_effects(conn, verdict.payment, seen, verdict.decision)
            if verdict.outcome != "duplicate":
                webhook_events.settle_webhook_event(
                    conn,
                    event["id"],
                    status=verdict.outcome,
                    reason=verdict.reason,
                    payment_id=verdict.payment.id if verdict.payment else None,
                )
            kill_point("webhook.before-commit")
    return verdict


def _keep_as_failed(
    database: Database, event: Mapping[str, Any], failure: Exception, context: Context
) -> str | None:
    """The effects are rolled back; the event is kept in a transaction of its own, so that nothing is lost meanwhile."""
    from domain.scrubbing import scrub  # noqa: PLC0415 - a cold start need not compile its expressions

    error = scrub(str(failure))[:500]
    try:
        return database.run(
            lambda conn: webhook_events.fail_webhook_event(
                conn,
                event_id=event["id"],
                event_type=event["type"],
                payload=event,
                request_id=context["request_id"] or "",
                reason=type(failure).__name__,
                error=error,
                context=context,
            )
        )
    except refusals.Refusal:
        logger.warning("the failed event could not be kept either; stripe brings it again")
        return None
