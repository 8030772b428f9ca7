"""Outward effects: leased, settled or tried again."""

from datetime import timedelta
from typing import Any

from database.connection import Connection, Context, call


def claim_outbox(conn: Connection, *, limit: int, lease: timedelta, context: Context) -> list[dict[str, Any]]:
    """Up to `limit` due rows, leased; `attempt` is the fencing token of what follows."""
    query = "SELECT (SELECT coalesce(jsonb_agg(row), '[]') FROM claim_outbox(%s, %s) AS row)"
    return call(conn, query, [limit, lease], context=context)


def settle_outbox(
    conn: Connection, outbox_id: str, attempt: int, *, status: str, error: str | None = None
) -> bool:
    """The row's end: `delivered`, `dead`, or `canceled` where nobody is to be told. False: the lease was lost."""
    return call(conn, "SELECT settle_outbox(%s, %s, %s, %s)", [outbox_id, attempt, status, error])


def retry_outbox(
    conn: Connection, outbox_id: str, attempt: int, *, error: str, wait: timedelta | None = None
) -> None:
    """Later, after `wait` or else a pause that grows with each attempt."""
    call(conn, "SELECT retry_outbox(%s, %s, %s, %s)", [outbox_id, attempt, error, wait])


def take_next_refund_key(conn: Connection, outbox_id: str, attempt: int, *, context: Context) -> None:
    """The refund of this row is asked for under another key from now on, unless the row's lease was lost."""
    call(conn, "SELECT take_next_refund_key(%s, %s)", [outbox_id, attempt], context=context)


def bury_refund(conn: Connection, outbox_id: str, attempt: int, *, error: str, context: Context) -> bool:
    """The end of a refund that Stripe does not make, and of its row: both or neither. False: the lease was lost."""
    return call(conn, "SELECT bury_refund(%s, %s, %s)", [outbox_id, attempt, error], context=context)
