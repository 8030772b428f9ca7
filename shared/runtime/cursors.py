"""Keyset pages: a cursor names the last row of a page, by its time and its id."""

import base64
from datetime import datetime

from domain.refusals import InvalidRequest


def cursor_of(at: str, row_id: str) -> str:
    """The `next` of a page that ends with this row; `at` is RFC 3339 with all of its microseconds."""
    return base64.urlsafe_b64encode(f"{at} {row_id}".encode()).decode()


def parsed_cursor(cursor: str) -> tuple[datetime, str]:
    """The row that a page's `next` names; raises `InvalidRequest` for what never was one."""
    try:
        at, row_id = base64.urlsafe_b64decode(cursor).decode().split(" ")
        moment = datetime.fromisoformat(at)
    except ValueError:
        moment, row_id = None, ""
    if moment is None or moment.tzinfo is None or "\0" in row_id:
        raise InvalidRequest(
            errors=[{"pointer": "/cursor", "detail": "Input should be the `next` of a page"}]
        )
    return moment, row_id
