"""Sentry, where a DSN is set: the samples that are stored, as they are stored - without secrets, and about nobody."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from runtime.observability import logger

# An environment is frozen once it has answered: what has not left by then leaves with its next call.
FLUSH_SECONDS = 1.0
LEVELS: Mapping[str, str] = {"critical": "fatal"}


@cache
def _client(dsn: str, environment: str) -> Any:
    import sentry_sdk  # noqa: PLC0415 - half a second that only those who use it should wait for

    # No integration: what they would gather on their own (logs, requests, local variables) has not been scrubbed.
    return sentry_sdk.Client(
        dsn=dsn,
        environment=environment,
        default_integrations=False,
        auto_enabling_integrations=False,
        auto_session_tracking=False,
        include_local_variables=False,
        include_source_context=False,
        max_request_body_size="never",
        server_name="",
    )


def send_to_sentry(
    dsn: str,
    *,
    environment: str,
    release: str,
    severity: str,
    message: str,
    fingerprint: str,
    tags: Mapping[str, str | None],
    extra: Mapping[str, Any],
) -> None:
    """Sends one event within a second; what fails here is a warning, and nobody else's trouble."""
    event = {
        "message": message,
        "level": LEVELS.get(severity, severity),
        "fingerprint": [fingerprint],
        "release": release,
        "tags": {name: value for name, value in tags.items() if value},
        "extra": dict(extra),
    }
    try:
        client = _client(dsn, environment)
        client.capture_event(event)
        client.flush(timeout=FLUSH_SECONDS)
    except Exception:  # noqa: BLE001 - the report is stored: its answer does not depend on Sentry
        logger.warning("sentry was not told", exc_info=True)
