"""Reconciliation: unsettled events again, Stripe's list of events, open payments, second intents.

Nothing here decides anything: what is found goes through the same door as a webhook. Each phase may be killed anywhere
and gone on with, and two runs at once find the same things done.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from database import reconciliation
from database.connection import Context, Database
from database.jobs import finish_job
from domain.payment import Observation
from domain.refusals import EventNotApplied
from payments.applying import ACTED_ON, PAYMENT_TYPES, apply_event
from payments.defects import report_defect
from payments.settling import FOREIGN, MAY_REFUND, settle
from runtime.jobs import Budget
from runtime.kill_points import kill_point
from runtime.observability import count, logger
from runtime.outbox_kick import kick_outbox
from runtime.settings import StripeSettings, credential, load
from stripe_gateway.failures import StripeFailed, StripeRefused, StripeUnanswered
from stripe_gateway.gateway import StripeGateway
from stripe_gateway.observations import observe, reservation_id_in

# Stripe lists the events of the last 30 days (https://docs.stripe.com/api/events/list).
EVENTS_KEPT = timedelta(days=30)
# Every list begins again so long before the end of the last one: an event may be listed later than it is dated, and
# Stripe's clock is not the database's.
OVERLAP = timedelta(hours=1)
# At most 20 types a list (https://docs.stripe.com/api/events/list#list_events-types).
EVENT_TYPES = sorted(ACTED_ON)
EVENT_BATCH = 20
# An event whose run died is due again after this: before the next run.
EVENT_LEASE = timedelta(minutes=5)
FOREIGN_FOR = timedelta(days=7)
# As many as are asked about at once.
PAYMENT_BATCH = 8

type Result = dict[str, Any]


@cache
def _database() -> Database:
    return Database(credential(StripeSettings, "database_url"))


@cache
def _gateway() -> StripeGateway:
    return StripeGateway(
        credential(StripeSettings, "stripe_secret_key"), load(StripeSettings).stripe_api_base
    )


def reconcile(request_id: str, budget: Budget) -> Result:
    """`{"events_fetched", "applied", "payments_asked", "retried", "dead", "rematched", "more"}`.

    On a system where nothing was missed it changes nothing.
    """
    started_at = datetime.now(UTC)
    result: Result = {
        "events_fetched": 0,
        "applied": 0,
        "payments_asked": 0,
        "retried": 0,
        "dead": 0,
        "rematched": 0,
        "more": False,
    }
    context = {
        "actor": "system",
        "actor_id": "reconcile-payments",
        "reason": "reconciliation",
        "request_id": request_id,
    }
    for phase in (_try_events_again, _read_event_list, _ask_open_payments, _close_strays):
        # Half of what is left: a long list keeps no other phase from its turn.
        part = budget.half()
        phase(part, context, result)
        result["more"] |= part.is_spent
    _database().run(
        lambda conn: finish_job(
            conn, "reconcile-payments", request_id=request_id, started_at=started_at, result=result
        )
    )
    return result


def _try_events_again(budget: Budget, context: Context, result: Result) -> None:
    """Phase 1: failed events, until they are dead; parked ones, whose payment may be there by now."""
    _database().run(
        lambda conn: reconciliation.ignore_foreign_events(conn, reason=FOREIGN, after=FOREIGN_FOR)
    )
    while not budget.is_spent:
        due = _database().run(
            lambda conn: reconciliation.claim_due_events(conn, limit=EVENT_BATCH, lease=EVENT_LEASE)
        )
        if not due:
            return
        kill_point("reconcile.events-claimed")
        failed: list[str] = []
        for row in due:
            outcome = _apply(row["event"], context)
            if outcome is None:
                failed.append(row["event"]["id"])
            if outcome == "parked":
                _cancel_orphan(row["event"], context)
            if row["status"] == "failed":
                result["retried"] += 1
            elif outcome not in (None, "parked", "duplicate"):
                result["rematched"] += 1
        result["dead"] += list(_statuses(failed).values()).count("dead")


def _read_event_list(budget: Budget, context: Context, result: Result) -> None:
    """Phase 2: what Stripe has said since we last looked, page by page; what nobody has told us is applied."""
    listing = _database().run(
        lambda conn: reconciliation.begin_event_list(conn, overlap=OVERLAP, kept=EVENTS_KEPT)
    )
    after: str | None = listing["last_event_id"]
    more = True
    while more and not budget.is_spent:
        try:
            events, more = _gateway().list_events(EVENT_TYPES, since=int(listing["since"]), after=after)
        except StripeRefused:
            if after is None:
                raise
            after = None  # Stripe has forgotten the event that was to be gone on from: the list begins anew
            continue
        except (StripeUnanswered, StripeFailed):
            logger.warning("stripe did not list its events")
            result["more"] = True
            return
        result["events_fetched"] += len(events)
        known = _statuses([event["id"] for event in events])
        missed = [event for event in events if event["id"] not in known]
        for event in missed:
            result["applied"] += _apply(event, context) not in (None, "duplicate")
            if budget.is_spent:
                break
        if len(_statuses([event["id"] for event in missed])) < len(missed):
            # The time was over, or one could be neither applied nor kept: the next run reads this page again.
            result["more"] = True
            return
        after = events[-1]["id"] if more else None
        kill_point("reconcile.page-applied")
        _advance(listing["began_at"], after)


def _ask_open_payments(budget: Budget, context: Context, result: Result) -> None:
    """Phase 3: payments of which Stripe has said neither that they are paid nor that they never will be."""
    while not budget.is_spent:
        payments = _database().run(
            lambda conn: reconciliation.claim_payments_to_ask(conn, limit=PAYMENT_BATCH)
        )
        if not payments:
            return
        _at_once(_ask, payments, context)
        result["payments_asked"] += len(payments)


def _close_strays(budget: Budget, context: Context, _: Result) -> None:
    """Phase 4: second intents that Stripe has made for a payment are closed, so that nobody pays them."""
    while not budget.is_spent:
        strays = _database().run(lambda conn: reconciliation.claim_stray_payments(conn, limit=PAYMENT_BATCH))
        if not strays:
            return
        _at_once(_close_stray, strays, context)


def _apply(event: Mapping[str, Any], context: Context) -> str | None:
    """What became of the event; None: it failed, and is kept with its reason."""
    try:
        return apply_event(_database(), _gateway(), load(StripeSettings), event, context)
    except EventNotApplied:
        return None


def _cancel_orphan(event: Mapping[str, Any], context: Context) -> None:
    """What Stripe has for a hold of ours and a payment that has no row is closed: nobody else can have made it.

    One that has been paid stays parked: a person has been told.
    """
    stripe_object = event["data"]["object"]
    seen, reservation_id = observe(stripe_object), reservation_id_in(stripe_object)
    if event["type"] not in PAYMENT_TYPES or seen.payment_id is None or reservation_id is None:
        return
    ids = {"payment_id": seen.payment_id, "reservation_id": reservation_id}
    if not _database().run(lambda conn: reconciliation.is_orphan(conn, **ids)):
        return
    try:
        closed = _gateway().close(seen.payment_intent_id, seen.checkout_session_id).seen.canceled
    except (StripeUnanswered, StripeFailed, StripeRefused):
        logger.warning("stripe did not say whether an orphan is closed", extra=ids)
        return
    if closed:
        logger.warning("an orphan was canceled", extra=ids)
        _database().run(
            lambda conn: reconciliation.ignore_event(
                conn, event["id"], reason="an orphan, and canceled", context=context
            )
        )


def _statuses(event_ids: list[str]) -> dict[str, str]:
    return _database().run(lambda conn: reconciliation.event_statuses(conn, event_ids)) if event_ids else {}


def _advance(began_at: str, last_event_id: str | None) -> None:
    _database().run(lambda conn: reconciliation.advance_event_list(conn, began_at, last_event_id))


def _at_once(
    act: Callable[[Mapping[str, Any], Context], None], payments: list[dict[str, Any]], context: Context
) -> None:
    """Does it with each payment. One that fails is logged, and due again later: it keeps no other from its turn."""

    def act_alone(payment: Mapping[str, Any]) -> None:
        try:
            act(payment, context)
        except (StripeUnanswered, StripeFailed, StripeRefused):
            logger.warning("stripe did not answer about a payment", extra={"payment_id": payment["id"]})
        except Exception as failure:  # noqa: BLE001 - as the docstring says
            logger.exception("a payment could not be reconciled", extra={"payment_id": payment["id"]})
            count("ReconcileFailed")
            report_defect(failure)

    with ThreadPoolExecutor(max_workers=PAYMENT_BATCH) as pool:
        list(pool.map(act_alone, payments))


def _ask(payment: Mapping[str, Any], context: Context) -> None:
    """What Stripe says of the payment now; one of which nobody ever heard is looked for by our id."""
    if payment["known"]:
        made = _gateway().fetch(payment["payment_intent_id"], payment["checkout_session_id"])
    else:
        made = _gateway().find(payment["mode"], payment["id"], payment["created_at"])
    kill_point("reconcile.asked")
    if made is not None:
        _settle(made.seen, context)


def _close_stray(stray: Mapping[str, Any], context: Context) -> None:
    answer = _gateway().close(stray["payment_intent_id"], stray["checkout_session_id"])
    kill_point("reconcile.stray-closed")
    if answer.seen.captured_amount > 0:
        _settle(answer.seen, context)
    elif answer.seen.canceled:
        _database().run(lambda conn: reconciliation.close_stray_payment(conn, stray["id"], context=context))


def _settle(seen: Observation, context: Context) -> None:
    if settle(_database(), seen, context).action in MAY_REFUND:
        kick_outbox(load(StripeSettings).deliver_outbox_function)
