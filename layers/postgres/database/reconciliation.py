"""What is looked for again: the list of Stripe's events, unsettled events, open payments, second intents."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from database.connection import Connection, Context, call


def begin_event_list(conn: Connection, *, overlap: timedelta, kept: timedelta) -> dict[str, Any]:
    """The list of Stripe's events that is to be read: `since` (epoch seconds), `began_at`, `last_event_id`."""
    return call(conn, "SELECT begin_event_list(%s, %s)", [overlap, kept])


def advance_event_list(conn: Connection, began_at: str, last_event_id: str | None) -> None:
    """The page that ends with this event is done; None: and with it the list."""
    call(conn, "SELECT advance_event_list(%s, %s)", [began_at, last_event_id])


def event_statuses(conn: Connection, event_ids: Sequence[str]) -> dict[str, str]:
    """The status of each of these events that has a row."""
    return call(
        conn,
        "SELECT coalesce(jsonb_object_agg(event_id, status), '{}') FROM webhook_events_log WHERE event_id = ANY (%s)",
        [list(event_ids)],
    )


def claim_due_events(conn: Connection, *, limit: int, lease: timedelta) -> list[dict[str, Any]]:
    """Failed and parked events that are due: `status` and `event`."""
    query = "SELECT coalesce(jsonb_agg(row), '[]') FROM claim_due_events(%s, %s) AS row"
    return call(conn, query, [limit, lease])


def ignore_foreign_events(conn: Connection, *, reason: str, after: timedelta) -> int:
    """Events parked for this reason that have been there for so long are ignored; answers how many."""
    return call(conn, "SELECT ignore_foreign_events(%s, %s)", [reason, after])


def is_orphan(conn: Connection, *, payment_id: str, reservation_id: str) -> bool:
    """Whether the hold is ours, and its payment has no row here."""
    return call(
        conn,
        """
        SELECT EXISTS (SELECT FROM ticket_reservations WHERE id = %s)
           AND NOT EXISTS (SELECT FROM payment_intents_log WHERE id = %s)
        """,
        [reservation_id, payment_id],
    )


def ignore_event(conn: Connection, event_id: str, *, reason: str, context: Context) -> None:
    """Nothing is left to be done with a parked event."""
    query = "SELECT settle_webhook_event(%s, 'ignored', %s, NULL)"
    call(conn, query, [event_id, reason], context=context)


def claim_payments_to_ask(conn: Connection, *, limit: int) -> list[dict[str, Any]]:
    """Open payments that Stripe is to be asked about now; each is due again after as long as it is old."""
    return call(conn, "SELECT coalesce(jsonb_agg(row), '[]') FROM claim_payments_to_ask(%s) AS row", [limit])


def claim_stray_payments(conn: Connection, *, limit: int) -> list[dict[str, Any]]:
    """Second intents of a payment that could still be paid; due again likewise."""
    return call(conn, "SELECT coalesce(jsonb_agg(row), '[]') FROM claim_stray_payments(%s) AS row", [limit])


def close_stray_payment(conn: Connection, payment_id: str, *, context: Context) -> None:
    """Stripe has closed the second intent."""
    call(conn, "SELECT close_stray_payment(%s)", [payment_id], context=context)


def reopen_webhook_event(conn: Connection, event_id: str, *, context: Context) -> dict[str, Any] | None:
    """Makes an unsettled event due again, audited: its `status` before, and `event`. None: there is no such event."""
    return call(conn, "SELECT reopen_webhook_event(%s)", [event_id], context=context)
