"""Logs and metrics: one JSON line a fact, with the ids that tie it to its story and no personal data."""

import json
import logging
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from domain.meter import begin_meter


def _serialized(line: dict[str, Any]) -> str:
    """The line in JSON. What an exception says may repeat anything, a customer's address too: that is taken out here."""
    line.pop("exception_notes", None)  # the exception's own text ends with them
    for name in ("exception", "error"):
        if isinstance(text := line.get(name), str):
            from domain.scrubbing import scrub  # noqa: PLC0415 - a cold start need not compile its expressions

            line[name] = scrub(text)
    return json.dumps(line, default=str, ensure_ascii=False, separators=(",", ":"))


# The exception's text has the stack: not once more, in pieces that nobody scrubs.
logger = Logger(json_serializer=_serialized, serialize_stacktrace=False)
metrics = Metrics()
_counting = threading.Lock()  # a job's threads count at once, and Powertools gathers for one thread alone

# The database's layer logs through the standard library; its lines leave by the same door and with the same ids.
_layer = logging.getLogger("database")
_layer.handlers = [logger.registered_handler]
_layer.setLevel(logger.log_level)
_layer.propagate = False


def identify(**ids: str | None) -> None:
    """Puts ids (function_name, request_id, reservation_id, payment_id, stripe_event_id) on every line of this invocation.

    `origin_request_id` is that of the call of ours that a webhook follows from.
    """
    logger.append_keys(**{name: value for name, value in ids.items() if value is not None})


def count(name: str, value: float = 1, *, unit: MetricUnit = MetricUnit.Count) -> None:
    """Counts an outcome as a metric (EMF)."""
    with _counting:
        metrics.add_metric(name=name, unit=unit, value=value)


def named_after(context: Any, what: str) -> str:
    """The name of one function's metric: `ReservationCleanupDone` for `Done` of `<stack>-reservation-cleanup`."""
    function = context.function_name.removeprefix(f"{metrics.service}-")
    return function.title().replace("-", "") + what


@contextmanager
def invocation(context: Any) -> Generator[str]:
    """What one invocation logs and counts belongs to it alone; yields its request id."""
    logger.clear_state()
    identify(function_name=context.function_name, request_id=context.aws_request_id)  # one log group has all
    # Powertools' buffer and Lambda's own tracing read this; outside Lambda it is absent.
    os.environ.setdefault("_X_AMZN_TRACE_ID", "Root=0-00000000-000000000000000000000000")
    spent = begin_meter()
    try:
        yield context.aws_request_id
    finally:
        if spent.database_calls:
            count("DatabaseCalls", spent.database_calls)
            count("LockTimeouts", spent.lock_timeouts)
        _flush_metrics()


def _flush_metrics() -> None:
    if metrics.metric_set:
        metrics.flush_metrics()
    else:
        metrics.clear_metrics()
