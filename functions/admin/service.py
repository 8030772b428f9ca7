"""Figures and lists for administrators."""

from functools import cache
from typing import Any, get_args

from database import operations
from database.connection import Database
from domain.refusals import DatabaseUnavailable
from functions.admin.requests import EventStatus, WebhookEventsQuery
from runtime.cursors import cursor_of, parsed_cursor
from runtime.settings import DatabaseSettings, load

EVENT_STATUSES: tuple[str, ...] = get_args(EventStatus.__value__)


@cache
def _database() -> Database:
    return Database(load(DatabaseSettings).database_url)


def stats() -> dict[str, Any]:
    """Counts by status of reservations (at the top), payments, events and the outbox, and of broken promises.

    `invariant_violations` is null where they could not be counted within a statement's time.
    """
    figures = _database().run(operations.count_by_status)
    try:
        violations = _database().run(operations.count_invariant_violations)
    except DatabaseUnavailable:
        violations = None  # the view compares everything with everything: the figures do not wait for it
    return {**figures, "invariant_violations": violations}


def list_webhook_events(query: WebhookEventsQuery) -> dict[str, Any]:
    """A page of Stripe's events and, where there are more, the cursor of the next."""
    before = parsed_cursor(query.cursor) if query.cursor else None
    events = _database().run(
        lambda conn: operations.list_webhook_events(
            conn,
            statuses=[query.status] if query.status else EVENT_STATUSES,
            before=before,
            limit=query.limit + 1,
        )
    )
    page = events[: query.limit]
    answer: dict[str, Any] = {"events": page}
    if len(events) > query.limit:
        answer["next"] = cursor_of(page[-1]["received_at"], page[-1]["id"])
    return answer
