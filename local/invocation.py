"""What the cloud's front doors ask of whatever runs the functions, and what comes back."""

import json
from dataclasses import dataclass
from typing import Any, Protocol, cast

from local.template import LambdaFunction

PAYLOAD_LIMIT = (
    6 * 1024 * 1024
)  # of request and of response, https://docs.aws.amazon.com/lambda/latest/dg/limits
PLACE_PATIENCE_S = 20.0


class Throttled(Exception):
    """No execution environment came free in time."""


@dataclass(frozen=True)
class Outcome:
    """What became of one invocation; `error` is the error's type where the function, or its runtime, failed."""

    payload: bytes
    error: str | None
    request_id: str
    duration_ms: float = 0.0
    cold: bool = False
    waited_ms: float = 0.0


class Backend(Protocol):
    """Runs functions: processes on this machine, or any Lambda Invoke endpoint."""

    async def invoke(
        self,
        function: LambdaFunction,
        payload: bytes,
        *,
        patience_s: float = PLACE_PATIENCE_S,
        request_id: str | None = None,
    ) -> Outcome:
        """Invoke and wait for the answer; raises Throttled if no place came free within `patience_s`."""
        ...

    def enqueue(self, function: LambdaFunction, payload: bytes) -> None:
        """Invoke asynchronously: taken now, run when there is a place, its answer dropped."""
        ...


def error_payload(kind: str, message: str) -> bytes:
    """The JSON that Lambda answers in place of a function that could not."""
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()


def what_happened(answer: object) -> str:
    """A few words for the terminal: the problem's name, the outcome, or a job's counts."""
    if not isinstance(answer, dict):
        return ""
    fields = cast("dict[str, Any]", answer)
    if "errorType" in fields:
        return f"{fields['errorType']}: {str(fields.get('errorMessage', ''))[:160]}"
    problem = fields.get("type")
    if isinstance(problem, str) and problem.startswith("/problems/"):
        return problem.removeprefix("/problems/")
    if isinstance(outcome := fields.get("outcome"), str):
        return outcome
    counts = {name: value for name, value in fields.items() if isinstance(value, int)}
    return (
        " ".join(f"{name}={value}".lower() for name, value in counts.items())
        if len(counts) == len(fields)
        else ""
    )
