"""Stripe's SDK as it is set up here. Importing it takes as long as the rest of a cold start: only who asks Stripe does."""

from collections.abc import Generator
from contextlib import contextmanager

import stripe

from stripe_gateway.failures import StripeFailed, StripeRefused, StripeUnanswered

# Three tries and two short pauses stay inside 8 s; the SDK's own first pause of half a second would not.
stripe.HTTPClient.INITIAL_DELAY = 0.1
stripe.enable_telemetry = False


def connect(
    secret_key: str, api_base: str | None, *, seconds_a_try: float, retries: int
) -> "stripe.V1Services":
    """The account's API; connections are opened at the first request, and kept."""
    return stripe.StripeClient(
        secret_key,
        base_addresses={"api": api_base} if api_base else {},
        http_client=stripe.RequestsClient(timeout=seconds_a_try),
        max_network_retries=retries,
    ).v1


@contextmanager
def failures() -> Generator[None]:
    """Stripe's errors by what the caller may conclude (https://docs.stripe.com/error-low-level)."""
    try:
        yield
    except (
        stripe.APIConnectionError,
        stripe.RateLimitError,
        stripe.AuthenticationError,
        stripe.PermissionError,
    ) as failure:
        raise StripeUnanswered from failure
    except (stripe.InvalidRequestError, stripe.CardError) as failure:
        raise StripeRefused(failure.code) from failure
    except stripe.IdempotencyError as failure:
        raise StripeFailed from failure  # the key was used for something: look what it made
    except stripe.APIError as failure:
        if failure.http_status == 409:
            raise StripeUnanswered from failure
        raise StripeFailed from failure
