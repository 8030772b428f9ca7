"""What a request counts towards: so many a minute from one address, and from whoever it says, or proves, to come from.

It is said where the request is read and counted by its first unit of work in the database, which is far from there.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass

type Limits = Mapping[str, int]
"""Requests a minute, by bucket."""


@dataclass(slots=True)
class _Request:
    limits: Callable[[str | None], Limits]
    identity: str | None = None
    counted: bool = False


_request: ContextVar[_Request | None] = ContextVar("request", default=None)


def begin_request(limits: Callable[[str | None], Limits] | None) -> None:
    """A request begins, with what its caller's identity makes of its limits. None: from here on nothing is counted."""
    _request.set(_Request(limits) if limits else None)


def comes_from(identity: str) -> None:
    """Who the request comes from: a user, else an e-mail address, else a hold. The last word counts."""
    if request := _request.get():
        request.identity = identity


def limits_due() -> Limits:
    """What the request has to be counted in now: once, and nothing after that."""
    request = _request.get()
    if request is None or request.counted:
        return {}
    request.counted = True
    return request.limits(request.identity)
