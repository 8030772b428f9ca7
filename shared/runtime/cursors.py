"""Keyset pages: a cursor names the last row of a page, by its time and its id."""

import base64
from collections.abc import Callable
from datetime import datetime

from domain.refusals import InvalidRequest


def cursor_of(at: str, row_id: str) -> str:
    """The `next` of a page that ends with this row; `at` is RFC 3339 with all of its microseconds."""
    return base64.urlsafe_b64encode(f"{at} {row_id}".encode()).decode()


def parsed_cursor[I](cursor: str, read_id: Callable[[str], I] = str) -> tuple[datetime, I]:
    """The row that a page's `next` names; raises `InvalidRequest` for what never was one."""
    try:
        at, text = base64.urlsafe_b64decode(cursor).decode().split(" ")
        moment, row_id = datetime.fromisoformat(at), read_id(text)
    except ValueError:
        moment, text, row_id = None, "", None
    if moment is None or row_id is None or moment.tzinfo is None or "\0" in text:
        raise InvalidRequest(
            errors=[{"pointer": "/cursor", "detail": "Input should be the `next` of a page"}]
        )
    return moment, row_id
