"""A function's own failure, handed to `log-error` as a page hands over its own, and never its caller's trouble.

It goes as an asynchronous invocation: nothing waits for the database, which may be what failed, and Lambda keeps it while
`log-error` is busy. One failure that comes in a flood does not invoke once a time: beyond a burst it is counted here, and
the next report says how many it stands for.
"""

import json
import time
import traceback
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from domain.refusals import DatabaseUnavailable
from runtime.observability import logger
from runtime.outbox_kick import lambda_client
from runtime.settings import Settings, load

BURST = 50
PAUSE_SECONDS = 10.0
# Failures of so many kinds are told apart; beyond them whatever was quiet the longest is forgotten.
REMEMBERED = 100
# What is told of a message, and of a stack, whose end says where it broke.
MESSAGE_LENGTH = 10_000
STACK_LENGTH = 30_000


@dataclass(slots=True)
class _Streak:
    """One failure of this environment: how often it went out since `began_at`, and how often it was held back."""

    began_at: float
    sent: int = 0
    held: int = 0
    report: dict[str, Any] = field(default_factory=dict[str, Any])


class Breaker:
    """Lets a burst of each failure through, and after a pause one report for all that were held back."""

    def __init__(self) -> None:
        self._streaks: dict[str, _Streak] = {}
        self._closed_until = 0.0

    def passes(self, name: str, report: dict[str, Any]) -> dict[str, Any] | None:
        """The report with its `times`, to be sent now; None where it is held back."""
        now = time.monotonic()
        streak = self._streaks.pop(name, None) or _Streak(now)
        self._streaks[name] = streak  # at the end: the first is who was quiet the longest
        if len(self._streaks) > REMEMBERED:
            del self._streaks[next(iter(self._streaks))]
        if now - streak.began_at >= PAUSE_SECONDS:
            streak.began_at, streak.sent = now, 0
        streak.held += 1
        streak.report = report
        if streak.sent >= BURST or now < self._closed_until:
            return None
        streak.sent += 1
        return _taken(streak)

    def overdue(self) -> list[tuple[str, dict[str, Any]]]:
        """The names and reports of what was held back, once its pause is over."""
        now = time.monotonic()
        if now < self._closed_until:
            return []
        return [
            (name, _taken(streak))
            for name, streak in self._streaks.items()
            if streak.held and now - streak.began_at >= PAUSE_SECONDS
        ]

    def failed(self, name: str, times: int) -> None:
        """The report did not go out: it is held back, and for a pause so is every other."""
        self._closed_until = time.monotonic() + PAUSE_SECONDS
        if streak := self._streaks.get(name):
            streak.held += times


def _taken(streak: _Streak) -> dict[str, Any]:
    times, streak.held = streak.held, 0
    return {**streak.report, "times": times}


@cache
def _breaker() -> Breaker:
    return Breaker()


def report_failure(failure: Exception, context: Any, *, severity: str = "error") -> None:
    """Reports what the invocation of this context failed with. An absent database is no error of ours, and not reported."""
    if isinstance(failure, DatabaseUnavailable):
        return
    try:
        settings = load(Settings)
        if not settings.log_error_function:
            return
        # Compiling their expressions is nothing that a cold start should wait for.
        from domain.errors import fingerprint  # noqa: PLC0415
        from domain.scrubbing import MAXIMUM_TEXT, scrub  # noqa: PLC0415

        message = scrub(traceback.format_exception_only(failure)[0].strip())[:MESSAGE_LENGTH]
        # Cut once it is scrubbed: what began as half a secret has gone with the beginning.
        stack = scrub("".join(traceback.format_exception(failure))[-MAXIMUM_TEXT:])[-STACK_LENGTH:]
        name = fingerprint("backend", None, message, stack)
        report = {
            "message": message,
            "stack": stack,
            "severity": severity,
            "source": "backend",
            "function_name": context.function_name,
            "release": settings.release,
            "request_id": context.aws_request_id,
        }
        if passed := _breaker().passes(name, report):
            _send(settings.log_error_function, name, passed)
    except Exception:  # noqa: BLE001 - the caller has its own failure to answer for
        logger.warning("a failure was not reported", exc_info=True)


def report_held_back() -> None:
    """Reports what was held back, where its pause is over."""
    for name, report in _breaker().overdue():
        if function := load(Settings).log_error_function:
            _send(function, name, report)


def _send(function: str, name: str, report: dict[str, Any]) -> None:
    try:
        lambda_client().invoke(
            FunctionName=function, InvocationType="Event", Payload=json.dumps(report).encode()
        )
    except Exception:  # noqa: BLE001 - as above
        _breaker().failed(name, report["times"])
        logger.warning("a failure was not reported", exc_info=True)
