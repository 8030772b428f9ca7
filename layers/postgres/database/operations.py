"""What operators ask of the whole: figures, and Stripe's events as they are kept."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from database.connection import Connection, call


def count_by_status(conn: Connection) -> dict[str, Any]:
    """`get_reservation_stats()`, and the payments, events and outbox rows of each status that occurs."""
    return call(
        conn,
        """
        SELECT to_jsonb(s) || jsonb_build_object(
            'oldest_active_at', rfc3339(s.oldest_active_at),
            'payments', (
                SELECT coalesce(jsonb_object_agg(status, rows), '{}')
                FROM (SELECT status, count(*) AS rows FROM payment_intents_log GROUP BY status) AS p),
            'webhook_events', (
                SELECT coalesce(jsonb_object_agg(status, rows), '{}')
                FROM (SELECT status, count(*) AS rows FROM webhook_events_log GROUP BY status) AS e),
            'outbox', (
                SELECT coalesce(jsonb_object_agg(status, rows), '{}')
                FROM (SELECT status, count(*) AS rows FROM outbox GROUP BY status) AS o))
        FROM get_reservation_stats() AS s
        """,
    )


def count_invariant_violations(conn: Connection) -> int:
    """How many promises are broken, and where: 0."""
    return call(conn, "SELECT count(*) FROM invariant_violations")


def list_webhook_events(
    conn: Connection, *, statuses: Sequence[str], before: tuple[datetime, str] | None, limit: int
) -> list[dict[str, Any]]:
    """Up to `limit` events of these statuses, newest first; `before` is the last one of the page before.

    Never the payload, which is about people. Each status is read from its own end of one index, so that a page costs
    the same whatever the number of events.
    """
    before_at, before_id = before or (None, None)
    return call(
        conn,
        """
        SELECT coalesce(jsonb_agg(jsonb_build_object(
            'id', page.event_id, 'type', page.event_type, 'status', page.status, 'attempts', page.attempts,
            'deliveries', page.deliveries, 'reason', page.reason, 'last_error', page.last_error,
            'received_at', rfc3339(page.received_at), 'processed_at', rfc3339(page.processed_at),
            'payment_id', page.payment_id) ORDER BY page.received_at DESC, page.event_id DESC), '[]')
        FROM (
            SELECT newest.* FROM unnest(%(statuses)s::text[]) AS wanted (status)
            CROSS JOIN LATERAL (
                SELECT e.event_id, e.event_type, e.status, e.attempts, e.deliveries, e.reason, e.last_error,
                       e.received_at, e.processed_at, e.payment_id
                FROM webhook_events_log e
                WHERE e.status = wanted.status
                  AND (e.received_at, e.event_id)
                      < (coalesce(%(before_at)s::timestamptz, 'infinity'), coalesce(%(before_id)s::text, ''))
                ORDER BY e.received_at DESC, e.event_id DESC LIMIT %(limit)s
            ) AS newest
            ORDER BY newest.received_at DESC, newest.event_id DESC LIMIT %(limit)s
        ) AS page
        """,
        {  # pyright: ignore[reportArgumentType] - psycopg takes a mapping for named parameters
            "statuses": list(statuses),
            "before_at": before_at,
            "before_id": before_id,
            "limit": limit,
        },
    )
