"""Logs and metrics: one JSON line a fact, with the ids that tie it to its story and no personal data."""

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

logger = Logger()
metrics = Metrics()

# The layers log through the standard library; their lines leave by the same door and with the same ids.
for _name in ("database", "payments"):
    _child = logging.getLogger(_name)
    _child.handlers = [logger.registered_handler]
    _child.setLevel(logger.log_level)
    _child.propagate = False


def identify(**ids: str | None) -> None:
    """Puts ids (function_name, request_id, reservation_id, payment_id, stripe_event_id) on every line of this invocation."""
    logger.append_keys(**{name: value for name, value in ids.items() if value is not None})


def count(name: str, value: float = 1) -> None:
    """Counts an outcome as a metric (EMF)."""
    metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)


@contextmanager
def invocation(context: Any) -> Generator[str]:
    """What one invocation logs and counts belongs to it alone; yields its request id."""
    logger.clear_state()
    _start_sentry()
    identify(function_name=context.function_name, request_id=context.aws_request_id)  # one log group has all
    # Powertools' buffer and Lambda's own tracing read this; outside Lambda it is absent.
    os.environ.setdefault("_X_AMZN_TRACE_ID", "Root=0-00000000-000000000000000000000000")
    try:
        yield context.aws_request_id
    finally:
        _flush_metrics()


def _flush_metrics() -> None:
    if metrics.metric_set:
        metrics.flush_metrics()
    else:
        metrics.clear_metrics()


def _start_sentry() -> None:
    """Sentry is off, and not even imported, where no DSN is set."""
    dsn = os.environ.pop("SENTRY_DSN", None)
    if not dsn:
        return
    import sentry_sdk  # noqa: PLC0415 - half a second that only those who use it should wait for

    sentry_sdk.init(
        dsn=dsn,
        environment=os.environ.get("ENVIRONMENT"),
        release=os.environ.get("RELEASE"),
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
    )
