"""Stripe's SDK as it is set up here. Importing it takes as long as the rest of a cold start: only who asks Stripe does."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import stripe

from domain.credential import Credential
from domain.meter import meter
from stripe_gateway.failures import StripeFailed, StripeRefused, StripeUnanswered

# Three tries and two short pauses stay inside 8 s; the SDK's own first pause of half a second would not.
stripe.HTTPClient.INITIAL_DELAY = 0.1
stripe.enable_telemetry = False


class _WithRotatedKey(stripe.RequestsClient):
    """Sends each request under the key that holds now, and once more where that was refused and there is a newer one.

    What is refused by its key was not done (https://docs.stripe.com/error-low-level): asking again is safe.
    """

    def __init__(self, secret_key: Credential, timeout: float) -> None:
        super().__init__(timeout=timeout)  # pyright: ignore[reportUnknownMemberType] - partly untyped there
        self._secret_key = secret_key

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        while True:
            key = self._secret_key.current()
            authorized = {**(headers or {}), "Authorization": f"Bearer {key}"}
            answer = super().request(method, url, authorized, post_data)  # pyright: ignore[reportUnknownMemberType] - as above
            if answer[1] != HTTPStatus.UNAUTHORIZED:
                return answer
            self._secret_key.renew()
            if self._secret_key.current() == key:
                return answer


def connect(
    secret_key: Credential, api_base: str | None, *, seconds_a_try: float, retries: int
) -> "stripe.V1Services":
    """The account's API; connections are opened at the first request, and kept."""
    return stripe.StripeClient(
        secret_key.current(),
        base_addresses={"api": api_base} if api_base else {},
        http_client=_WithRotatedKey(secret_key, seconds_a_try),
        max_network_retries=retries,
    ).v1


@contextmanager
def failures() -> Generator[None]:
    """Stripe's errors by what the caller may conclude (https://docs.stripe.com/error-low-level)."""
    try:
        with meter().waiting():
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
