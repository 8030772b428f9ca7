"""Beginning and ending a session. It is kept by the browser alone: nothing of it is stored here."""

import time
from collections.abc import Mapping

from aws_lambda_powertools.shared.cookies import Cookie, SameSite
from aws_lambda_powertools.utilities.data_classes import LambdaFunctionUrlEvent

from domain.refusals import Unauthenticated
from runtime.auth import COOKIE, begin_session, by_bearer, signed_in
from runtime.observability import count

NOT_CACHED: Mapping[str, str] = {"Cache-Control": "no-store"}


def begin(event: LambdaFunctionUrlEvent) -> tuple[str, Cookie]:
    """A session for the bearer of the token: its CSRF token and its cookie.

    A session begins no other session: raises `Unauthenticated` without a bearer token, whatever cookie came.
    """
    caller = by_bearer(event)
    if caller is None:
        raise Unauthenticated("Send a bearer token.")
    value, session = begin_session(caller)
    count("SessionBegun")
    return session.csrf or "", _cookie(value, session.expires_at - int(time.time()))


def end(event: LambdaFunctionUrlEvent) -> Cookie:
    """The cookie that takes the session's place and is over at once.

    Ending what has ended, or never was, is no error; ending a living one is a change, and raises `Csrf` as any other.
    The token itself stays good until its end: whoever copied it out of the browser keeps it until then.
    """
    try:
        signed_in(event)
    except Unauthenticated:
        pass
    else:
        count("SessionEnded")
    return _cookie("", 0)


def _cookie(value: str, seconds: int) -> Cookie:
    # Strict costs nothing: the calls come from the site's own pages, also right after a way back from Stripe.
    return Cookie(
        COOKIE, value, path="/", max_age=seconds, secure=True, http_only=True, same_site=SameSite.STRICT_MODE
    )
