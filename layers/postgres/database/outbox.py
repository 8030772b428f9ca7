"""Outward effects: leased, settled or tried again."""

from datetime import timedelta
from typing import Any

from database.connection import Connection, Context, call


def claim_outbox(conn: Connection, *, limit: int, lease: timedelta, context: Context) -> list[dict[str, Any]]:
    """Up to `limit` due rows, leased; `attempt` is the fencing token of what follows."""
    query = "SELECT coalesce(jsonb_agg(row), '[]') FROM claim_outbox(%s, %s) AS row"
    return call(conn, query, [limit, lease], context=context)


def settle_outbox(
    conn: Connection, outbox_id: str, attempt: int, *, status: str, error: str | None = None
) -> bool:
    """The row's end, `delivered` or `dead`. False: the lease was lost."""
    return call(conn, "SELECT settle_outbox(%s, %s, %s, %s)", [outbox_id, attempt, status, error])


def retry_outbox(conn: Connection, outbox_id: str, attempt: int, *, error: str) -> None:
    """Later, after a pause that grows with each attempt."""
    call(conn, "SELECT retry_outbox(%s, %s, %s)", [outbox_id, attempt, error])


def settle_refund(
    conn: Connection,
    outbox_id: str,
    attempt: int,
    *,
    refund_id: str,
    stripe_refund_id: str | None,
    status: str,
    error: str | None = None,
    context: Context,
) -> None:
    """What Stripe said of a refund, together with the end of its row: both or neither."""
    call(
        conn,
        "SELECT CASE WHEN settle_outbox(%s, %s, %s, %s) THEN record_refund(%s, %s, %s) END",
        [
            outbox_id,
            attempt,
            "dead" if status == "failed" else "delivered",
            error,
            refund_id,
            stripe_refund_id,
            status,
        ],
        context=context,
    )


def take_next_refund_key(conn: Connection, refund_id: str, *, context: Context) -> int:
    """The number of the next key to ask Stripe for the refund under."""
    return call(conn, "SELECT take_next_refund_key(%s)", [refund_id], context=context)
