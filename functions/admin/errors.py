"""Errors by their groups: listed, and what a person says of them."""

import re
from typing import Any, get_args

from database import errors
from domain.refusals import NotFound, UnknownErrorGroup
from functions.admin.connections import admin_database
from functions.admin.requests import ErrorsQuery, ErrorStatus
from runtime.cursors import cursor_of, parsed_cursor
from runtime.observability import logger

STATUSES: tuple[str, ...] = get_args(ErrorStatus.__value__)
ACTS = frozenset({"resolve", "mute", "unmute"})


def list_errors(query: ErrorsQuery) -> dict[str, Any]:
    """A page of groups, those opened last first, and where there are more the cursor of the next."""
    found = admin_database().run(
        lambda conn: errors.list_error_groups(
            conn,
            statuses=[query.status] if query.status else STATUSES,
            before=parsed_cursor(query.cursor) if query.cursor else None,
            limit=query.limit + 1,
        )
    )
    page = found[: query.limit]
    more = len(found) > query.limit
    return {
        "errors": page,
        **({"next": cursor_of(page[-1]["opened_at"], page[-1]["fingerprint"])} if more else {}),
    }


def change_error(fingerprint: str, act: str) -> dict[str, Any]:
    """The group after `resolve`, `mute` or `unmute`. Raises `UnknownErrorGroup`, and `NotFound` for any other act."""
    if act not in ACTS:
        raise NotFound
    if not re.fullmatch(r"[\w-]{1,100}", fingerprint, re.ASCII):
        raise UnknownErrorGroup
    group = admin_database().run(lambda conn: errors.change_error_group(conn, fingerprint, act))
    if group is None:
        raise UnknownErrorGroup
    logger.info("an error's status was changed", extra={"fingerprint": fingerprint, "act": act})
    return group
