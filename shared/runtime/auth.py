"""Who calls: a bearer token, or the cookie `session` whose changes need its CSRF token too.

Only functions that ask who calls import this; PyJWT itself is imported at the first token.
"""

import importlib
import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, cast

from aws_lambda_powertools.utilities.data_classes import LambdaFunctionUrlEvent
from pydantic import Field, ValidationInfo, field_validator

from domain.identity import Caller, Role, caller_of, csrf_matches, session_claims, session_key
from domain.limits import comes_from
from domain.refusals import Csrf, Forbidden, Unauthenticated
from runtime.settings import Settings, accepted, load

if TYPE_CHECKING:
    from runtime.jwks import KeySet

COOKIE = "session"
# RFC 9110, 9.2.1: what only reads.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class AuthSettings(Settings):
    """What a function is told that asks who calls. Where there are both a secret and a key set, either may sign."""

    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    jwt_jwks_url: Annotated[str | None, Field(pattern=r"^https?://")] = None
    # RFC 7518, 3.2: as long as what it is hashed with.
    jwt_secret: Annotated[str | None, Field(min_length=32, validate_default=True)] = None
    token_secret: Annotated[str | None, Field(min_length=16, validate_default=True)] = None

    @field_validator("jwt_jwks_url")
    @classmethod
    def _is_fetched_safely(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url and url.startswith("http:") and info.data.get("environment") != "local":
            raise ValueError("keys that verify others are fetched over https alone")
        return url

    @field_validator("jwt_secret")
    @classmethod
    def _is_a_secret(cls, secret: str | None, info: ValidationInfo) -> str | None:
        if secret is None and info.data.get("jwt_jwks_url") is None:
            raise ValueError("nothing verifies a token: set it, or JWT_JWKS_URL")
        if secret is not None and secret.startswith("-----BEGIN"):
            raise ValueError(
                "it is a key in PEM, which is no shared secret: HS256 would trust whoever can read it"
            )
        return secret

    @field_validator("token_secret")
    @classmethod
    def _keys_the_session(cls, secret: str | None, info: ValidationInfo) -> str | None:
        if secret is None and info.data.get("jwt_secret") is None:
            raise ValueError("nothing signs a session: set it, or JWT_SECRET")
        return secret

    def session_keys(self) -> Iterator[str]:
        """What session cookies are signed with: the first for a new one, any for one that is shown."""
        if self.jwt_secret:
            return accepted(self, "jwt_secret")
        return map(session_key, accepted(self, "token_secret"))


def signed_in(event: LambdaFunctionUrlEvent) -> Caller:
    """Who calls, by the bearer token, or else by the cookie.

    Raises `Unauthenticated`; `Csrf` for a change that comes with the cookie and without its CSRF token; and
    `SignInUnavailable` while the identity provider's keys cannot be had.
    """
    # What is wrong with them is said at the first call, and not at the first that has a token.
    load(AuthSettings)
    return by_bearer(event) or _by_cookie(event)


def signed_in_at_all(event: LambdaFunctionUrlEvent) -> Caller | None:
    """Who calls; None where neither a bearer token nor a session was sent. Raises as `signed_in`."""
    return by_bearer(event) or (_by_cookie(event) if _session_cookies(event) else None)


def require_admin(event: LambdaFunctionUrlEvent) -> Caller:
    """The administrator who calls; raises `Forbidden` for anybody else who is signed in, else as `signed_in`."""
    caller = signed_in(event)
    if caller.role is not Role.ADMIN:
        raise Forbidden
    return caller


def by_bearer(event: LambdaFunctionUrlEvent) -> Caller | None:
    """Who calls by a bearer token (RFC 6750, 2.1); None where none was sent. Raises as `signed_in`."""
    scheme, _, token = (event.headers.get("authorization") or "").strip().partition(" ")
    if scheme.lower() != "bearer":
        return None
    settings = load(AuthSettings)
    return _verified(token.strip(), accepted(settings, "jwt_secret") if settings.jwt_secret else ())


def begin_session(caller: Caller) -> tuple[str, Caller]:
    """A new session's cookie value, and the caller as the session knows it, with its CSRF token and its end."""
    settings = load(AuthSettings)
    claims: dict[str, str | int] = session_claims(
        caller, csrf=secrets.token_urlsafe(32), now=int(time.time())
    )
    if settings.jwt_audience:
        claims["aud"] = settings.jwt_audience
    if settings.jwt_issuer:
        claims["iss"] = settings.jwt_issuer
    _import_jwt()
    from runtime import tokens  # noqa: PLC0415 - imports PyJWT

    return tokens.signed(claims, next(settings.session_keys())), caller_of(claims)


def _by_cookie(event: LambdaFunctionUrlEvent) -> Caller:
    values = _session_cookies(event)
    if len(values) > 1:
        # A neighbouring site can add a cookie for this one, and no cookie says who set it.
        raise Unauthenticated("There are several sessions: end them and sign in again.")
    if not values:
        raise Unauthenticated
    caller = _verified(values.pop(), load(AuthSettings).session_keys())
    if event.http_method not in SAFE_METHODS and not csrf_matches(caller, event.headers.get("x-csrf-token")):
        raise Csrf
    return caller


def _session_cookies(event: LambdaFunctionUrlEvent) -> set[str]:
    cookies = (cookie.partition("=") for cookie in event.cookies)
    return {value.strip().strip('"') for name, _, value in cookies if name.strip() == COOKIE}


def _verified(token: str, secrets: Iterable[str]) -> Caller:
    if not token or not token.isascii():
        raise Unauthenticated("The token is not valid here.")
    settings = load(AuthSettings)
    _import_jwt()
    from runtime import tokens  # noqa: PLC0415 - imports PyJWT

    claims = tokens.verified_claims(
        token,
        secrets=secrets,
        key_set=_key_set(settings.jwt_jwks_url) if settings.jwt_jwks_url else None,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
    )
    caller = caller_of(claims)
    comes_from(caller.user_id)
    return caller


@cache
def _key_set(url: str) -> "KeySet":
    from runtime.jwks import KeySet  # noqa: PLC0415 - only who has a key set needs it, and cryptography with it

    return KeySet(url)


def _import_jwt() -> None:
    """Imports PyJWT, without the cryptography package where only a shared secret verifies.

    PyJWT imports it whenever it is there, which takes longer than PyJWT itself and is of use to public keys alone. None
    in sys.modules says that it is not there (https://docs.python.org/3/reference/import.html#the-module-cache).
    """
    if {"jwt", "cryptography"} & sys.modules.keys() or load(AuthSettings).jwt_jwks_url:
        return
    modules = cast("dict[str, Any]", sys.modules)
    modules["cryptography"] = None
    try:
        importlib.import_module("jwt")
    finally:
        del modules["cryptography"]
