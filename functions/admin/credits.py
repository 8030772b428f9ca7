"""A customer's credits: granted, taken away, looked at."""

import hashlib
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from database.connection import Context
from database.credits import fetch_credits, grant_credits
from domain.identity import USER_ID_LENGTH
from domain.refusals import BY_SLUG, NotFound
from domain.scrubbing import scrub
from functions.admin.connections import admin_database
from functions.admin.requests import CreditsRequest, PageQuery
from runtime.cursors import cursor_of, parsed_cursor


def parsed_user_id(part: str) -> str:
    """The user that a part of a path names; raises `NotFound` for what no token can name."""
    try:
        user_id = unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise NotFound from None
    if len(user_id) > USER_ID_LENGTH or not user_id.isprintable():
        raise NotFound
    return user_id


def change_credits(
    user_id: str, request: CreditsRequest, key: str | None, context: Context
) -> tuple[str, bool]:
    """Grants credits, or takes some away: `{"balance"}` as it is kept for the caller's key, and whether it is a replay.

    Raises `InsufficientCredits`, `IdempotencyKeyReused`, and `InvalidRequest` for an expiry that is past or a balance that
    nobody may have.
    """
    reason = scrub(request.reason)
    own_key = key or str(uuid4())
    outcome = admin_database().run(
        lambda conn: grant_credits(
            conn,
            user_id=user_id,
            delta=request.delta,
            expires_at=request.expires_at,
            reason=reason,
            key=own_key,
            request_hash=hashlib.sha256(f"{user_id}\n{request.model_dump_json()}".encode()).hexdigest(),
            context={**context, "reason": reason},
        )
    )
    match outcome.pop("outcome"):
        case "changed":
            return outcome["answer"], False
        case "replayed":
            return outcome["answer"], key is not None
        case refused:
            raise BY_SLUG[refused](**outcome)


def show_credits(user_id: str, query: PageQuery) -> dict[str, Any]:
    """What the user can spend, the grants that it comes from, and a page of entries, newest first."""
    after = parsed_cursor(query.cursor, int) if query.cursor else None
    found = admin_database().run(
        lambda conn: fetch_credits(conn, user_id, before=after[1] if after else None, limit=query.limit + 1)
    )
    entries = found["entries"]
    found["entries"] = page = entries[: query.limit]
    if len(entries) > query.limit:
        found["next"] = cursor_of(page[-1]["created_at"], str(page[-1]["id"]))
    return found
