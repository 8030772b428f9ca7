"""Secrets Manager, as one execution environment sees it: what it has read is kept, and read again before long.

https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from runtime.observability import count, logger

# A value that was rotated is in use no longer than this, in an environment that nobody has told.
KEPT_SECONDS = 300.0
# Where Secrets Manager does not answer, what is kept is good for so long before it is asked again.
ASK_AGAIN_SECONDS = 30.0
PREVIOUS = "AWSPREVIOUS"


class SecretUnreadable(Exception):
    """Secrets Manager does not give the secret."""


@dataclass(slots=True)
class _Kept:
    """A secret's value, when it was read and read again, and the one before it once somebody has asked for that."""

    value: str
    read_at: float
    renewed_at: float = float("-inf")
    previous: str | None = None
    knows_previous: bool = False


class SecretStore:
    """Values by ARN. `generation` grows with each value that was found changed.

    `clock` gives the time of day in seconds: no other clock goes on while an environment is frozen.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.generation = 0
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._one_at_a_time = threading.Lock()

    def current(self, arn: str) -> str:
        """The value as it was read last; raises `SecretUnreadable`."""
        with self._one_at_a_time:
            if arn not in self._kept:
                self._kept[arn] = _Kept(_read(arn), self._clock())
            return self._kept[arn].value

    def previous(self, arn: str) -> str | None:
        """The value that the current one has taken the place of; None where there is none, or it cannot be read."""
        self.current(arn)
        with self._one_at_a_time:
            kept = self._kept[arn]
            if not kept.knows_previous:
                kept.knows_previous = True
                try:
                    kept.previous = _read(arn, VersionStage=PREVIOUS)
                except SecretUnreadable:
                    kept.previous = None
            return kept.previous

    def renew(self, arn: str, *, at_most_every: float = 0) -> bool:
        """Reads the value again, unless that was done within these seconds. False: it could not be read, and is kept."""
        with self._one_at_a_time:
            kept, now = self._kept.get(arn), self._clock()
            if kept is None or 0 <= now - kept.renewed_at < at_most_every:
                return True
            kept.renewed_at = now
            try:
                value = _read(arn)
            except SecretUnreadable:
                kept.read_at = now - KEPT_SECONDS + ASK_AGAIN_SECONDS
                count("SecretNotRead")
                logger.warning(
                    "a secret cannot be read again; the value that is known is kept",
                    exc_info=True,
                    extra={"secret": _name(arn)},
                )
                return False
            kept.read_at, kept.knows_previous = now, False
            if value != kept.value:
                kept.value = value
                self.generation += 1
                logger.info("a secret was rotated", extra={"secret": _name(arn)})
            return True

    def renew_old(self) -> None:
        """Reads again what was kept long enough; the caller waits for one answer that does not come, and no second."""
        now = self._clock()
        for arn, kept in list(self._kept.items()):
            if not 0 <= now - kept.read_at < KEPT_SECONDS and not self.renew(arn):
                return


@cache
def secret_store() -> SecretStore:
    """The one of this execution environment."""
    return SecretStore()


@cache
def _client() -> Any:
    import boto3  # noqa: PLC0415 - 0.3 s that only those who have an ARN should wait for
    from botocore.config import Config  # noqa: PLC0415 - as above

    return boto3.client(  # pyright: ignore[reportUnknownMemberType] - an overload for every service
        "secretsmanager",
        config=Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 2}),
    )


def _name(arn: str) -> str:
    """The secret's name as its ARN has it, with the six characters at its end."""
    return arn.rpartition(":")[2]


def _read(arn: str, **version: str) -> str:
    try:
        return str(_client().get_secret_value(SecretId=arn, **version)["SecretString"]).strip()
    except Exception as failure:
        # Its kinds are botocore's own, which only an environment that has an ARN imports.
        raise SecretUnreadable(type(failure).__name__) from failure
