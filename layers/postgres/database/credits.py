"""Credits: what a user has, and what became of it."""

from datetime import datetime
from typing import Any

from database.connection import Connection, Context, call


def grant_credits(
    conn: Connection,
    *,
    user_id: str,
    delta: int,
    expires_at: datetime | None,
    reason: str,
    key: str,
    request_hash: str,
    context: Context,
) -> dict[str, Any]:
    """Grants credits, or takes some away. Answers `{"outcome": ...}` as the SQL function of the same name says."""
    return call(
        conn,
        "SELECT grant_credits(%s, %s, %s, %s, %s, %s, %s)",
        [user_id, delta, expires_at, reason, context["actor_id"], key, request_hash],
        context=context,
    )


def fetch_credits(conn: Connection, user_id: str, *, before: int | None, limit: int) -> dict[str, Any]:
    """What the user can spend, the grants that have some left, and up to `limit` entries from before the entry `before`."""
    return call(
        conn,
        """
        SELECT jsonb_build_object(
            'balance', credits_left(%(user_id)s),
            'grants', (
                SELECT coalesce(jsonb_agg(jsonb_build_object(
                    'id', id, 'amount', amount, 'remaining', remaining, 'expires_at', rfc3339(expires_at),
                    'created_at', rfc3339(created_at)) ORDER BY expires_at NULLS LAST, created_at, id), '[]')
                FROM credit_grants
                WHERE user_id = %(user_id)s AND remaining > 0 AND (expires_at IS NULL OR expires_at > now())),
            'entries', (
                SELECT coalesce(jsonb_agg(jsonb_build_object(
                    'id', id, 'kind', kind, 'delta', delta, 'reason', reason, 'grant_id', grant_id,
                    'booking_id', booking_id, 'created_at', rfc3339(created_at)) ORDER BY id DESC), '[]')
                FROM (
                    SELECT * FROM credit_entries
                    WHERE user_id = %(user_id)s AND id < coalesce(%(before)s::bigint, 9223372036854775807)
                    ORDER BY id DESC LIMIT %(limit)s
                ) AS page))
        """,
        {"user_id": user_id, "before": before, "limit": limit},  # pyright: ignore[reportArgumentType] - psycopg takes a mapping for named parameters
    )


def expire_credits(conn: Connection, *, limit: int, context: Context) -> int:
    """Writes off up to `limit` grants that have expired; answers how many credits that were."""
    return call(conn, "SELECT expire_credits(%s)", [limit], context=context)
