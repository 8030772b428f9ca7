"""Limits, counted in the round trip of the act that they limit; what is over is remembered until its minute ends."""

import math
import time

import psycopg

from domain.limits import Limits
from domain.refusals import TooManyRequests

COUNT = "CALL count_request(%s, %s)"
# What `count_request` raises.
OVER = "LIMIT"
REMEMBERED = 1024


class Spent:
    """Buckets with nothing left of their minute, so that a flood does not reach the database; 1024 of them at most."""

    def __init__(self) -> None:
        self._over_until: dict[str, float] = {}

    def refuse(self, limits: Limits) -> None:
        """Raises `TooManyRequests` where one of these is over."""
        now = time.monotonic()
        for bucket in limits:
            if (seconds := self._over_until.get(bucket, now) - now) > 0:
                raise _too_many(seconds)

    def remember(self, failure: psycopg.Error) -> TooManyRequests:
        """What `count_request` has raised, as the caller hears it."""
        bucket, seconds = failure.diag.message_detail or "", float(failure.diag.message_hint or 0)
        self._over_until.pop(bucket, None)
        self._over_until[bucket] = time.monotonic() + seconds
        if len(self._over_until) > REMEMBERED:
            del self._over_until[next(iter(self._over_until))]
        return _too_many(seconds)


def _too_many(seconds: float) -> TooManyRequests:
    return TooManyRequests(retry_after=max(1, math.ceil(seconds)))
