"""Schedules: weekly rules, and the slots that are made from them."""

from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from database.connection import Connection, Context, call


def refresh_future_schedule(
    conn: Connection,
    *,
    slug: str,
    timezone: str,
    rules: Sequence[dict[str, Any]],
    first: date,
    last: date,
    blackouts: Sequence[date],
    resource_id: UUID | None,
    context: Context,
) -> dict[str, Any]:
    """Makes an offering's future slots what the rules say. Answers `{"outcome": ...}` as the SQL function of the same name says."""
    return call(
        conn,
        "SELECT refresh_future_schedule(%s, %s, %s, %s, %s, %s, %s)",
        [slug, timezone, Jsonb(list(rules)), first, last, list(blackouts), resource_id],
        context=context,
    )
