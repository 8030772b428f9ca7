"""Who calls: what a verified token says of its bearer, and the session that a browser keeps."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from domain.refusals import Unauthenticated

USER_ID_LENGTH = 255
# A session cannot be called back before its end, so it lasts a working day and no longer.
SESSION_SECONDS = 12 * 3600


class Role(StrEnum):
    """What a caller may be."""

    CUSTOMER = "customer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who is signed in until `expires_at` (Unix seconds). `csrf` is there where a session was begun."""

    user_id: str
    role: Role
    expires_at: int
    csrf: str | None = None


def caller_of(claims: Mapping[str, object]) -> Caller:
    """The caller that a token's verified claims describe.

    Raises `Unauthenticated` for claims that name nobody, or no role that is known: a token without a role was not made
    for this site, and a guess would be one in the caller's favour.
    """
    user_id, role, expires_at, csrf = (claims.get(name) for name in ("sub", "role", "exp", "csrf"))
    if not isinstance(user_id, str) or not 0 < len(user_id) <= USER_ID_LENGTH or not user_id.isprintable():
        raise Unauthenticated("The token names nobody.")
    if not isinstance(role, str) or role not in set(Role):
        raise Unauthenticated("The token gives no role that is known here.")
    if not isinstance(expires_at, int | float):
        raise Unauthenticated("The token does not say when it ends.")
    return Caller(user_id, Role(role), int(expires_at), csrf if isinstance(csrf, str) and csrf else None)


def csrf_matches(caller: Caller, given: str | None) -> bool:
    """Whether `given` is the session's CSRF token; takes the same time for every wrong one."""
    if caller.csrf is None or not given:
        return False
    return hmac.compare_digest(caller.csrf.encode(), given.encode("utf-8", "surrogatepass"))


def session_key(token_secret: str) -> str:
    """The key of the session cookie where the site has no secret for tokens: HMAC-SHA256 of a label, hex."""
    return hmac.new(token_secret.encode(), b"session cookie, HS256", hashlib.sha256).hexdigest()


def session_claims(caller: Caller, *, csrf: str, now: int) -> dict[str, str | int]:
    """The claims of a new session: the caller's own, over no later than the token that it was begun with.

    Raises `Unauthenticated` where nothing is left of that token's time.
    """
    ends_at = min(caller.expires_at, now + SESSION_SECONDS)
    if ends_at <= now:
        raise Unauthenticated("The token is over.")
    return {"sub": caller.user_id, "role": caller.role.value, "iat": now, "exp": ends_at, "csrf": csrf}
