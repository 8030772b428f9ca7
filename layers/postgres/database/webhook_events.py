"""Stripe's events: claimed, settled or failed, one row each."""

from collections.abc import Mapping
from typing import Any

from psycopg import Cursor
from psycopg.types.json import Jsonb

from database.connection import Connection, Context, call

# An event of these comes to nothing more when it comes again.
DONE = frozenset(["processed", "ignored", "stale", "quarantined"])


def claim_webhook_event(
    conn: Connection,
    *,
    event_id: str,
    event_type: str,
    payload: Mapping[str, Any],
    request_id: str,
    payment_intent_id: str | None,
    checkout_session_id: str | None,
    payment_id: str | None,
) -> Cursor[tuple[Any, ...]]:
    """Sends: claim the event, lock its payment and hold. The cursor's row is there when the batch is over."""
    return conn.execute(
        "SELECT claim_webhook_event(%s, %s, %s, %s, %s, %s, %s)",
        [
            event_id,
            event_type,
            Jsonb(payload),
            request_id,
            payment_intent_id,
            checkout_session_id,
            payment_id,
        ],
    )


def settle_webhook_event(
    conn: Connection, event_id: str, *, status: str, reason: str | None, payment_id: str | None
) -> None:
    """Sends: what became of the event."""
    conn.execute("SELECT settle_webhook_event(%s, %s, %s, %s)", [event_id, status, reason, payment_id])


def fail_webhook_event(
    conn: Connection,
    *,
    event_id: str,
    event_type: str,
    payload: Mapping[str, Any],
    request_id: str,
    reason: str,
    error: str,
    context: Context,
) -> str | None:
    """Keeps an event whose effects were rolled back: `failed`, to be done again, or `dead` after twelve tries."""
    return call(
        conn,
        "SELECT fail_webhook_event(%s, %s, %s, %s, %s, %s)",
        [event_id, event_type, Jsonb(payload), request_id, reason, error],
        context=context,
    )


def note_webhook_event(
    conn: Connection,
    *,
    event_id: str,
    event_type: str,
    status: str,
    reason: str | None,
    payload: Mapping[str, Any],
    request_id: str,
    context: Context,
) -> str:
    """Keeps an event that nothing is done with: `status`, or `duplicate` where it is settled already."""
    return call(
        conn,
        "SELECT note_webhook_event(%s, %s, %s, %s, %s, %s)",
        [event_id, event_type, status, reason, Jsonb(payload), request_id],
        context=context,
    )
