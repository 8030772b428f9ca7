"""The history of scheduled runs, and what is swept up with it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from database.connection import Connection


def finish_job(
    conn: Connection, job: str, *, request_id: str, started_at: datetime, result: Mapping[str, Any]
) -> None:
    """Leaves the run's row."""
    conn.execute("SELECT finish_job(%s, %s, %s, %s)", [job, request_id, started_at, Jsonb(result)])


def forget_old_idempotency_keys(conn: Connection) -> None:
    """Drops keys that are well past the 24 hours for which they are promised."""
    conn.execute("SELECT forget_old_idempotency_keys()")


def forget_old_rate_limits(conn: Connection) -> None:
    """Drops what was counted in minutes and hours that are over."""
    conn.execute("SELECT forget_old_rate_limits()")
