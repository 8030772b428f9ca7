"""Errors: reports counted in their group, groups that are listed and ended, and the issue that each has in the tracker."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from database.connection import Connection, call


def report_error(
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
    times: int,
    opener: str | None,
    opened_an_hour: int | None,
    issues_an_hour: int | None,
) -> dict[str, Any]:
    """Counts the report. Answers `{"outcome": ...}` as the SQL function of the same name says."""
    return call(
        conn,
        "SELECT report_error(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
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
            times,
            opener,
            opened_an_hour,
            issues_an_hour,
        ],
    )


def change_error_group(conn: Connection, fingerprint: str, act: str) -> dict[str, Any] | None:
    """`resolve`, `mute` or `unmute`: the group as it is then. None: there is no such group."""
    return call(conn, "SELECT change_error_group(%s, %s)", [fingerprint, act])


def list_error_groups(
    conn: Connection, *, statuses: Sequence[str], before: tuple[datetime, str] | None, limit: int
) -> list[dict[str, Any]]:
    """Up to `limit` groups of these statuses, those opened last first; `before` is the last one of the page before.

    Each status is read from its own end of one index.
    """
    before_at, before_id = before or (None, None)
    return call(
        conn,
        """
        SELECT coalesce(jsonb_agg(error_group_json(page) ORDER BY page.opened_at DESC, page.fingerprint DESC), '[]')
        FROM (
            SELECT newest.* FROM unnest(%(statuses)s::text[]) AS wanted (status)
            CROSS JOIN LATERAL (
                SELECT g.* FROM error_groups g
                WHERE g.status = wanted.status
                  AND (g.opened_at, g.fingerprint)
                      < (coalesce(%(before_at)s::timestamptz, 'infinity'), coalesce(%(before_id)s::text, ''))
                ORDER BY g.opened_at DESC, g.fingerprint DESC LIMIT %(limit)s
            ) AS newest
            ORDER BY newest.opened_at DESC, newest.fingerprint DESC LIMIT %(limit)s
        ) AS page
        """,
        {  # pyright: ignore[reportArgumentType] - psycopg takes a mapping for named parameters
            "statuses": list(statuses),
            "before_at": before_at,
            "before_id": before_id,
            "limit": limit,
        },
    )


def fetch_issue(conn: Connection, fingerprint: str) -> dict[str, Any]:
    """What the tracker is told of a group: the group itself, and its newest sample."""
    return call(
        conn,
        """
        SELECT error_group_json(g) || jsonb_build_object('sample', (
            SELECT jsonb_build_object(
                'message', l.error_message, 'stack', l.stack_trace, 'context', l.context, 'release', l.release,
                'url', l.url, 'function_name', l.function_name, 'request_id', l.request_id)
            FROM error_logs l WHERE l.fingerprint = g.fingerprint ORDER BY l.id DESC LIMIT 1))
        FROM error_groups g WHERE g.fingerprint = %s
        """,
        [fingerprint],
    )


def settle_issue(
    conn: Connection,
    outbox_id: str,
    attempt: int,
    *,
    opening: int,
    number: int | None = None,
    url: str | None = None,
) -> bool:
    """The tracker has this opening's issue, or needs none. False: the lease was lost."""
    return call(conn, "SELECT settle_issue(%s, %s, %s, %s, %s)", [outbox_id, attempt, opening, number, url])


def has_open_issues(conn: Connection) -> bool:
    """Whether the tracker could have closed anything that is open here."""
    query = "SELECT EXISTS (SELECT FROM error_groups WHERE status = 'open' AND issue_number IS NOT NULL)"
    return call(conn, query)


def hear_of_closed_issues(
    conn: Connection, closed: Sequence[Mapping[str, Any]], *, issues_an_hour: int, request_id: str
) -> None:
    """What the tracker has closed, each as `{"number", "closed_at"}`, is resolved here or, seen since, opened anew."""
    call(
        conn,
        "SELECT hear_of_closed_issues(%s, %s, %s)",
        [Jsonb(list(closed)), issues_an_hour, request_id],
    )
