"""The audit: sealed, kept for years, and read by the booking."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from database.connection import Connection, call


def seal_audit(conn: Connection, *, limit: int) -> dict[str, Any]:
    """Seals up to `limit` entries that nothing can come before any more: `{"sealed", "head"}`."""
    return call(conn, "SELECT seal_audit(%s)", [limit])


def prune_audit(conn: Connection, *, keep: timedelta, limit: int) -> int:
    """Removes up to `limit` entries that are older than `keep`, behind a checkpoint; answers how many."""
    return call(conn, "SELECT prune_audit(%s, %s)", [keep, limit])


def list_audit(conn: Connection, booking_id: UUID) -> list[dict[str, Any]]:
    """Every entry about the booking and about the hold and the payment that it was made of, oldest first."""
    return call(
        conn,
        """
        WITH made_of AS (
            SELECT unnest(ARRAY[reservation_id, payment_id]) AS id FROM bookings WHERE id = %(booking_id)s
        ), entries AS (
            SELECT * FROM booking_audit_log WHERE booking_id = %(booking_id)s
            UNION ALL
            SELECT l.* FROM made_of m JOIN booking_audit_log l ON l.row_id = m.id
            WHERE l.booking_id IS NULL AND l.table_name IN ('ticket_reservations', 'payment_intents_log')
        )
        SELECT coalesce(jsonb_agg(jsonb_build_object(
            'id', e.id, 'table_name', e.table_name, 'row_id', e.row_id, 'action_type', e.action_type,
            'old_values', e.old_values, 'new_values', e.new_values, 'performed_by', e.performed_by,
            'performed_by_id', e.performed_by_id, 'ip_address', e.ip_address, 'user_agent', e.user_agent,
            'reason', e.reason, 'request_id', e.request_id, 'stripe_event_id', e.stripe_event_id,
            'created_at', rfc3339(e.created_at), 'sealed', s.position IS NOT NULL) ORDER BY e.id), '[]')
        FROM entries e LEFT JOIN audit_seals s ON s.entry_id = e.id
        """,
        {"booking_id": booking_id},  # pyright: ignore[reportArgumentType] - psycopg takes a mapping for named parameters
    )
