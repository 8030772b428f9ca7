"""Error reports: counted exactly, sampled with a cap."""

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from database.connection import Connection


def record_error(
    conn: Connection,
    *,
    fingerprint: str,
    severity: str,
    source: str,
    title: str,
    function_name: str | None,
    stack_trace: str | None,
    context: Mapping[str, Any],
    release: str | None,
    url: str | None,
    request_id: str,
) -> tuple[int, bool]:
    """Counts the error; answers how often it has been seen, and whether this was the first time."""
    row = conn.execute(
        "SELECT occurrence_count, is_new FROM record_error(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            fingerprint,
            severity,
            source,
            title,
            function_name,
            stack_trace,
            Jsonb(context),
            release,
            url,
            request_id,
        ],
    ).fetchone()
    if row is None:
        raise LookupError("record_error answers exactly one row")
    return row[0], row[1]
