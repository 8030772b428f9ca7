"""What a cold start imports, and what it leaves until it is needed."""

import os
import subprocess
import sys

import pytest
import stripe

from local.paths import PACKAGES
from stripe_gateway.webhook import API_VERSION

NEVER_AT_ONCE = {"boto3", "sentry_sdk", "jwt", "cryptography"}
ASKS_STRIPE_IN_EVERY_CALL = "create_payment_intent"


def imported_by(function: str) -> set[str]:
    """The top-level modules that are there once a function's handler has been imported, as in a fresh environment."""
    command = f"import sys; import functions.{function}.handler; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": PACKAGES}
    answer = subprocess.run(
        [sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in answer.stdout.split()}


@pytest.mark.parametrize(
    "function",
    ["stripe_webhook", "reservations", "reservation_cleanup", "health", "log_error", "bookings", "admin"],
)
def test_a_function_that_seldom_asks_stripe_starts_without_its_sdk(function: str) -> None:
    assert not imported_by(function) & (NEVER_AT_ONCE | {"stripe", "requests"})


def test_paying_has_the_sdk_before_its_first_call() -> None:
    """While an environment starts, the processor is all its own; the first buyer does not wait for the import."""
    found = imported_by(ASKS_STRIPE_IN_EVERY_CALL)
    assert "stripe" in found
    assert not found & NEVER_AT_ONCE


def test_the_version_is_the_sdks() -> None:
    """Events in the version of the SDK are read as they come; the name stands apart so that no webhook imports the SDK."""
    assert stripe.api_version == API_VERSION
