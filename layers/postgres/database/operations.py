"""What operators ask of the whole: figures, and Stripe's events as they are kept."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from database.connection import Connection, call


def count_reservations(conn: Connection) -> dict[str, Any]:
    """`get_reservation_stats()`, and the moment."""
    return call(
        conn,
        """
        SELECT to_jsonb(s) || jsonb_build_object(
            'oldest_active_at', rfc3339(s.oldest_active_at), 'counted_at', rfc3339(now()))
        FROM get_reservation_stats() AS s
        """,
    )


def count_payments(conn: Connection) -> dict[str, Any]:
    """`payments`: how many of each status that occurs."""
    return call(
        conn,
        """
        SELECT jsonb_build_object('payments', coalesce(jsonb_object_agg(status, rows), '{}'))
        FROM (SELECT status, count(*) AS rows FROM payment_intents_log GROUP BY status) AS p
        """,
    )


def count_events(conn: Connection) -> dict[str, Any]:
    """`webhook_events`: how many of each status that occurs."""
    return call(
        conn,
        """
        SELECT jsonb_build_object('webhook_events', coalesce(jsonb_object_agg(status, rows), '{}'))
        FROM (SELECT status, count(*) AS rows FROM webhook_events_log GROUP BY status) AS e
        """,
    )


def count_outbox(conn: Connection) -> dict[str, Any]:
    """`outbox`: how many rows of each status that occurs; `deliveries`: of each kind, how it went."""
    return call(
        conn,
        """
        SELECT jsonb_build_object(
            'outbox', (
                SELECT coalesce(jsonb_object_agg(status, rows), '{}')
                FROM (SELECT status, count(*) AS rows FROM outbox GROUP BY status) AS o),
            'deliveries', (
                SELECT coalesce(jsonb_object_agg(kind, jsonb_build_object(
                    'delivered', delivered, 'dead', dead, 'attempts', attempts,
                    'success_rate', round(delivered::numeric / nullif(delivered + dead, 0), 4))), '{}')
                FROM (
                    SELECT kind, sum(attempts) AS attempts, count(*) FILTER (WHERE status = 'delivered') AS delivered,
                           count(*) FILTER (WHERE status = 'dead') AS dead
                    FROM outbox GROUP BY kind) AS k))
        """,
    )


# Each a statement by itself, so that none needs more than a statement's time because all together would.
COUNTS: Sequence[Callable[[Connection], dict[str, Any]]] = (
    count_reservations,
    count_payments,
    count_events,
    count_outbox,
)


def count_by_status(conn: Connection) -> dict[str, Any]:
    """All of `COUNTS`."""
    return {name: figure for count in COUNTS for name, figure in count(conn).items()}


def count_invariant_violations(conn: Connection) -> int:
    """How often a promise is broken at this moment; 0 where all hold."""
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
            'next_attempt_at', rfc3339(page.next_attempt_at), 'payment_id', page.payment_id) ORDER BY page.received_at DESC, page.event_id DESC), '[]')
        FROM (
            SELECT newest.* FROM unnest(%(statuses)s::text[]) AS wanted (status)
            CROSS JOIN LATERAL (
                SELECT e.event_id, e.event_type, e.status, e.attempts, e.deliveries, e.reason, e.last_error,
                       e.received_at, e.processed_at, e.next_attempt_at, e.payment_id
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


def find_webhook_events(
    conn: Connection,
    *,
    status: str,
    event_type: str | None,
    since: datetime | None,
    after: tuple[datetime, str] | None,
    limit: int,
) -> dict[str, Any]:
    """Events of a status, of a type and received since then where these are named, oldest first, after the event `after`.

    `{"matched": how many, "events": up to `limit` of them}`.
    """
    after_at, after_id = after or (None, None)
    return call(
        conn,
        """
        WITH matched AS MATERIALIZED (
            SELECT event_id, event_type, status, reason, attempts, received_at FROM webhook_events_log
            WHERE status = %(status)s
              AND event_type = coalesce(%(event_type)s, event_type)
              AND received_at >= coalesce(%(since)s::timestamptz, '-infinity')
              AND (received_at, event_id) > (coalesce(%(after_at)s::timestamptz, '-infinity'), coalesce(%(after_id)s::text, ''))
        )
        SELECT jsonb_build_object('matched', (SELECT count(*) FROM matched), 'events', coalesce((
            SELECT jsonb_agg(jsonb_build_object(
                'id', event_id, 'type', event_type, 'status', status, 'reason', reason, 'attempts', attempts,
                'received_at', rfc3339(received_at)) ORDER BY received_at, event_id)
            FROM (SELECT * FROM matched ORDER BY received_at, event_id LIMIT %(limit)s) AS page), '[]'))
        """,
        {  # pyright: ignore[reportArgumentType] - psycopg takes a mapping for named parameters
            "status": status,
            "event_type": event_type,
            "since": since,
            "after_at": after_at,
            "after_id": after_id,
            "limit": limit,
        },
    )


def list_outbox(
    conn: Connection,
    *,
    kinds: Sequence[str],
    statuses: Sequence[str],
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Up to `limit` rows of these kinds and statuses, newest first; `before` is the last one of the page before.

    Never the payload, which is about people. Each kind of each status is read from its own end of one index.
    """
    before_at, before_id = before or (None, None)
    return call(
        conn,
        """
        SELECT coalesce(jsonb_agg(jsonb_build_object(
            'id', page.id, 'kind', page.kind, 'type', page.payload ->> 'type', 'status', page.status,
            'attempts', page.attempts, 'last_error', page.last_error, 'refund_id', page.refund_id,
            'request_id', page.request_id, 'created_at', rfc3339(page.created_at),
            'delivered_at', rfc3339(page.delivered_at),
            'next_attempt_at', CASE WHEN page.status = 'pending' THEN rfc3339(page.next_attempt_at) END
            ) ORDER BY page.created_at DESC, page.id DESC), '[]')
        FROM (
            SELECT newest.* FROM unnest(%(kinds)s::text[]) AS k (kind)
            CROSS JOIN unnest(%(statuses)s::text[]) AS s (status)
            CROSS JOIN LATERAL (
                SELECT o.* FROM outbox o
                WHERE o.status = s.status AND o.kind = k.kind
                  AND (o.created_at, o.id) < (
                      coalesce(%(before_at)s::timestamptz, 'infinity'),
                      coalesce(%(before_id)s::uuid, '00000000-0000-0000-0000-000000000000'))
                ORDER BY o.created_at DESC, o.id DESC LIMIT %(limit)s
            ) AS newest
            ORDER BY newest.created_at DESC, newest.id DESC LIMIT %(limit)s
        ) AS page
        """,
        {  # pyright: ignore[reportArgumentType] - psycopg takes a mapping for named parameters
            "kinds": list(kinds),
            "statuses": list(statuses),
            "before_at": before_at,
            "before_id": before_id,
            "limit": limit,
        },
    )
