"""Figures and lists for administrators; Stripe's events done again because one says so."""

from collections.abc import Mapping
from functools import cache
from typing import Any, get_args
from uuid import UUID

from database import operations, promises, reconciliation
from database.connection import Context
from domain.refusals import DatabaseUnavailable, EventNotApplied, UnknownEvent
from functions.admin.connections import admin_database
from functions.admin.requests import (
    EventStatus,
    OutboxKind,
    OutboxQuery,
    OutboxStatus,
    Replayable,
    ReplayRequest,
    WebhookEventsQuery,
)
from payments.applying import apply_event
from runtime.cursors import cursor_of, parsed_cursor
from runtime.jobs import Budget
from runtime.kill_points import kill_point
from runtime.settings import StripeSettings, credential, load
from stripe_gateway.gateway import StripeGateway

EVENT_STATUSES: tuple[str, ...] = get_args(EventStatus.__value__)
REPLAYABLE: tuple[str, ...] = get_args(Replayable.__value__)
OUTBOX_KINDS: tuple[str, ...] = get_args(OutboxKind.__value__)
OUTBOX_STATUSES: tuple[str, ...] = get_args(OutboxStatus.__value__)
REPLAY_BATCH = 100


@cache
def _gateway() -> StripeGateway:
    return StripeGateway(
        credential(StripeSettings, "stripe_secret_key"), load(StripeSettings).stripe_api_base
    )


def stats() -> dict[str, Any]:
    """Counts by status of reservations (at the top), payments, events and the outbox, and of broken promises.

    `deliveries`: of each kind of outward effect how many were delivered, how many were given up, how many tries that
    took, and the share that was delivered. `invariant_violations` is null where they could not be counted within a
    statement's time. Large tables are counted by `check-promises` alone, at `counted_at`.
    """
    is_small, checked = admin_database().run(promises.last_check)
    if checked and not is_small:
        violations = checked["invariant_violations"] or (None if checked["invariants_unchecked"] else 0)
        return {**checked["figures"], "invariant_violations": violations}
    figures = admin_database().run(operations.count_by_status)
    try:
        violations = admin_database().run(operations.count_invariant_violations)
    except DatabaseUnavailable:
        violations = None  # the view compares everything with everything: the figures do not wait for it
    return {**figures, "invariant_violations": violations}


def list_webhook_events(query: WebhookEventsQuery) -> dict[str, Any]:
    """A page of Stripe's events and, where there are more, the cursor of the next."""
    events = admin_database().run(
        lambda conn: operations.list_webhook_events(
            conn,
            statuses=[query.status] if query.status else EVENT_STATUSES,
            before=parsed_cursor(query.cursor) if query.cursor else None,
            limit=query.limit + 1,
        )
    )
    return _page("events", events, query.limit, "received_at")


def list_outbox(query: OutboxQuery) -> dict[str, Any]:
    """A page of what has left the house or is to, how often that was tried, and where there are more the next's cursor."""
    rows = admin_database().run(
        lambda conn: operations.list_outbox(
            conn,
            kinds=[query.kind] if query.kind else OUTBOX_KINDS,
            statuses=[query.status] if query.status else OUTBOX_STATUSES,
            before=parsed_cursor(query.cursor, UUID) if query.cursor else None,
            limit=query.limit + 1,
        )
    )
    return _page("outbox", rows, query.limit, "created_at")


def _page(name: str, rows: list[dict[str, Any]], limit: int, at: str) -> dict[str, Any]:
    page = rows[:limit]
    more = {"next": cursor_of(page[-1][at], page[-1]["id"])} if len(rows) > limit else {}
    return {name: page, **more}


def replay_event(event_id: str, context: Context) -> dict[str, Any]:
    """`{"id", "outcome"}`: what the webhook would answer, `duplicate` for what is done, `failed` where it fails again.

    It is done by what is kept of the event. Raises `UnknownEvent`.
    """
    context = {**context, "stripe_event_id": event_id}
    reopened: Mapping[str, Any] | None = admin_database().run(
        lambda conn: reconciliation.reopen_webhook_event(conn, event_id, context=context)
    )
    kill_point("replay.reopened")  # from here on reconciliation would do it, too
    if reopened is None:
        raise UnknownEvent
    if reopened["status"] not in REPLAYABLE:
        return {"id": event_id, "outcome": "duplicate"}
    try:
        outcome = apply_event(admin_database(), _gateway(), load(StripeSettings), reopened["event"], context)
    except EventNotApplied:
        outcome = "failed"
    return {"id": event_id, "outcome": outcome}


def replay_events(request: ReplayRequest, budget: Budget, context: Context) -> dict[str, Any]:
    """Those of a status (and type, and since), oldest first: `{"dry_run", "matched", "events", "next"?}`.

    `matched` counts from the cursor on. A dry run names the events and does nothing. A run has a batch and as much
    time as the function: `next` goes on where it ended.
    """
    found = admin_database().run(
        lambda conn: operations.find_webhook_events(
            conn,
            status=request.status,
            event_type=request.type,
            since=request.since,
            after=parsed_cursor(request.cursor) if request.cursor else None,
            limit=REPLAY_BATCH,
        )
    )
    events: list[dict[str, Any]] = []
    for event in found["events"]:
        if not request.dry_run:
            event["outcome"] = replay_event(event["id"], context)["outcome"]
        events.append(event)
        if budget.is_spent:
            break
    answer = {"dry_run": request.dry_run, "matched": found["matched"], "events": events}
    if found["matched"] > len(events):
        answer["next"] = cursor_of(events[-1]["received_at"], events[-1]["id"])
    return answer
