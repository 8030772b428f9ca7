"""What Stripe says of money after it has come in: refunds and disputes, applied once whoever brings the word.

An event of Stripe's and the answer to a question of ours go the same way: the payment is locked, its ledger read, what
follows is decided by facts alone, and that is written in the same transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from database import settlement, webhook_events
from database.connection import Connection, Context, Database, only_value, transaction
from database.ledger import ledger_of, read_ledger, save_ledger
from domain.ledger import (
    GONE,
    MADE_AT_STRIPE,
    DisputeSeen,
    Ledger,
    MoreThanCaptured,
    RefundSeen,
    reason_to_quarantine_fact,
    with_facts,
)
from payments.settling import (
    FOREIGN,
    MAY_REFUND,
    NO_SUCH_PAYMENT,
    reason_another_is_meant,
    settle,
    tell_of_event,
)
from payments.versions import current_object
from runtime.kill_points import kill_point
from runtime.observability import count, identify, logger
from runtime.outbox_kick import kick_outbox
from runtime.settings import StripeSettings
from stripe_gateway.failures import StripeRefused
from stripe_gateway.gateway import StripeGateway
from stripe_gateway.observations import observe_dispute, observe_refund

REFUND_TYPES = frozenset(["charge.refunded", "refund.created", "refund.updated", "refund.failed"])
DISPUTE_TYPES = frozenset(
    f"charge.dispute.{what}"
    for what in ("created", "updated", "closed", "funds_withdrawn", "funds_reinstated")
)
LEDGER_TYPES = REFUND_TYPES | DISPUTE_TYPES


@dataclass(frozen=True, slots=True)
class Heard:
    """What was said of one payment's money."""

    payment_intent_id: str | None
    refunds: Sequence[RefundSeen] = ()
    disputes: Sequence[DisputeSeen] = ()

    @property
    def names_us(self) -> bool:
        """Whether it carries an id of ours."""
        return any(refund.refund_id for refund in self.refunds)


@dataclass(frozen=True, slots=True)
class Entry:
    """What becomes of an event, and the ledger before and after it."""

    outcome: str
    reason: str | None = None
    before: Ledger | None = None
    after: Ledger | None = None


class LookAtStripe(Exception):
    """The event speaks of more than we know: Stripe has to be asked before it can be applied."""


def apply_ledger_event(
    database: Database,
    gateway: StripeGateway,
    settings: StripeSettings,
    event: Mapping[str, Any],
    context: Context,
) -> str:
    """What becomes of an event about a refund or a dispute.

    One that comes before the payment it is about, or before a refund that makes room for it, waits for nothing: Stripe
    is asked for what is missing, between two transactions.
    """
    heard = _heard(gateway, settings, event)
    try:
        entry = database.run(lambda conn: _claim_and_enter(conn, settings, event, heard, context, sure=False))
    except LookAtStripe:
        looked_up = _look(database, gateway, settings, heard, context)
        entry = database.run(
            lambda conn: _claim_and_enter(conn, settings, event, looked_up, context, sure=True)
        )
    kill_point("webhook.committed")
    tell_of_event(entry.outcome, entry.reason, ours=heard.names_us)
    if entry.before and entry.after:
        _tell(settings, entry.before, entry.after)
    return entry.outcome


def enter_refunds(
    database: Database, payment_intent_id: str, refunds: Sequence[RefundSeen], context: Context
) -> Ledger:
    """The ledger of our payment, with what Stripe has just answered about its refunds.

    Raises `MoreThanCaptured` where that cannot be all that there is to know.
    """

    def act(conn: Connection) -> Ledger:
        with transaction(conn, context) as unit:
            with unit.opening():
                _lock(conn, payment_intent_id)
                cursor = read_ledger(conn, payment_intent_id)
            before = ledger_of(only_value(cursor))
            after = with_facts(before, refunds, ())
            kill_point("ledger.before-commit")
            with unit.committing():
                save_ledger(conn, before, after)
            return after

    return database.run(act)


def _lock(conn: Connection, payment_intent_id: str) -> None:
    settlement.lock_payment(
        conn, payment_intent_id=payment_intent_id, checkout_session_id=None, payment_id=None
    )


def _heard(gateway: StripeGateway, settings: StripeSettings, event: Mapping[str, Any]) -> Heard:
    """What the event says. One about a charge does not say which refunds it has: they are listed.

    https://docs.stripe.com/changelog/2022-11-15/deprecates-charges-auto-expand
    """
    if event["type"] == "charge.refunded":
        intent_id = event["data"]["object"].get("payment_intent")
        if not isinstance(intent_id, str):
            return Heard(None)
        if reason_another_is_meant(settings, event):
            return Heard(intent_id)  # our account's list has nothing of theirs
        return Heard(intent_id, refunds=gateway.list_refunds(intent_id))
    if event["type"] in REFUND_TYPES:
        refund = observe_refund(current_object(gateway, "refund", event))
        return Heard(refund.payment_intent_id, refunds=[refund])
    dispute = observe_dispute(
        current_object(gateway, "dispute", event),
        seen_at=datetime.fromtimestamp(event["created"], UTC),
        event_type=event["type"],
    )
    return Heard(dispute.payment_intent_id, disputes=[dispute])


def _look(
    database: Database, gateway: StripeGateway, settings: StripeSettings, heard: Heard, context: Context
) -> Heard:
    """What Stripe says of the payment and of all its refunds; the payment is settled on the way."""
    intent_id = heard.payment_intent_id or ""
    try:
        seen = gateway.fetch(intent_id, None).seen
        if seen.payment_id is not None and settle(database, seen, context).action in MAY_REFUND:
            kick_outbox(settings.deliver_outbox_function)
        return replace(heard, refunds=[*heard.refunds, *gateway.list_refunds(intent_id)])
    except StripeRefused:
        return heard  # there is no such payment: nothing more to know


def _claim_and_enter(
    conn: Connection,
    settings: StripeSettings,
    event: Mapping[str, Any],
    heard: Heard,
    context: Context,
    *,
    sure: bool,
) -> Entry:
    """One transaction, two round trips. Raises `LookAtStripe` unless everything is known that can be (`sure`)."""
    with transaction(conn, context) as unit:
        with unit.opening():
            claimed = webhook_events.claim_webhook_event(
                conn,
                event_id=event["id"],
                event_type=event["type"],
                payload=event,
                request_id=context["request_id"] or "",
                payment_intent_id=heard.payment_intent_id,
                checkout_session_id=None,
                payment_id=None,
            )
            read = read_ledger(conn, heard.payment_intent_id)
        claim = only_value(claimed)
        # The ledger is a statement of its own: a payment that it sees and the claim did not was committed in between,
        # nobody has locked it, and what was read of it may be overtaken.
        ledger = only_value(read) if "payment" in claim else None
        entry = _judge(settings, event, claim["status"], ledger, heard, sure=sure)
        kill_point("webhook.claimed")
        with unit.committing():
            if entry.before and entry.after:
                save_ledger(conn, entry.before, entry.after)
            if entry.outcome != "duplicate":
                webhook_events.settle_webhook_event(
                    conn,
                    event["id"],
                    status=entry.outcome,
                    reason=entry.reason,
                    payment_id=entry.before.payment_id if entry.before else None,
                )
            kill_point("webhook.before-commit")
    return entry


def _judge(
    settings: StripeSettings,
    event: Mapping[str, Any],
    status: str,
    row: Mapping[str, Any] | None,
    heard: Heard,
    *,
    sure: bool,
) -> Entry:
    if status in webhook_events.DONE:
        return Entry("duplicate")
    before = ledger_of(row) if row else None
    if before is not None:
        identify(payment_id=before.payment_id)
    if wrong := reason_another_is_meant(settings, event):
        return Entry("quarantined", wrong, before)
    if not sure and heard.payment_intent_id and (before is None or before.captured_amount == 0):
        raise LookAtStripe
    if before is None:
        return Entry("parked", NO_SUCH_PAYMENT if heard.names_us else FOREIGN)
    for fact in (*heard.refunds, *heard.disputes):
        if wrong := reason_to_quarantine_fact(before, fact):
            return Entry("quarantined", wrong, before)
    try:
        after = with_facts(before, heard.refunds, heard.disputes)
    except MoreThanCaptured:
        if not sure:
            raise LookAtStripe from None
        return Entry("quarantined", "more-than-captured", before)
    return Entry("stale" if after == before else "processed", None, before, after)


def _tell(settings: StripeSettings, before: Ledger, after: Ledger) -> None:
    """What a person has to know of the change, and what has to leave the house at once."""
    stood = {dispute.id: dispute.standing for dispute in before.disputes}
    for dispute in after.disputes:
        if dispute.standing != stood.get(dispute.id, "inquiry"):
            count("Dispute" + dispute.standing.title())
            logger.error(
                "a dispute needs a person",
                extra={
                    "dispute": dispute.stripe_dispute_id,
                    "status": dispute.status,
                    "booking": after.booking_status,
                },
            )
    gone = {refund.id for refund in before.refunds if refund.status in GONE}
    for refund in after.refunds:
        if refund.reason == MADE_AT_STRIPE and refund.status in GONE and refund.id not in gone:
            count("RefundFailed")
            logger.error(
                "a refund that was made at stripe has failed", extra={"refund": refund.stripe_refund_id}
            )
    if after.to_send - before.to_send:
        kick_outbox(settings.deliver_outbox_function)
