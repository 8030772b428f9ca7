"""What Holdfast asks of Stripe.

Every request has 2.5 s a try and three tries, 8 s in all, under one idempotency key where it makes something. A caller
must not have a database transaction open.
"""

import importlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from domain.credential import Credential, credential
from domain.ledger import RefundSeen
from domain.payment import Observation
from stripe_gateway.failures import StripeRefused
from stripe_gateway.observations import PAYMENT_ID, REFUND_ID, REQUEST_ID, observe, observe_refund
from stripe_gateway.webhook import storable

if TYPE_CHECKING:
    import stripe

SECONDS_A_TRY = 2.5
RETRIES = 2
# Stripe's clock and the database's are not the same; what was made "since" may look a little older there.
CLOCK_MARGIN_SECONDS = 600
PAGE = 100


@dataclass(frozen=True, slots=True)
class StripePayment:
    """A payment as Stripe has it: what it says, and what only its buyer may have (never stored)."""

    seen: Observation
    client_secret: str | None
    url: str | None


class StripeGateway:
    """One account's API; keeps its connections between the calls of an execution environment.

    The SDK is imported at the first request: most webhooks and holds never ask Stripe.
    """

    def __init__(
        self,
        secret_key: str | Credential,
        api_base: str | None = None,
        *,
        seconds_a_try: float = SECONDS_A_TRY,
        retries: int = RETRIES,
    ) -> None:
        self._secret_key = credential(secret_key)
        self._api_base = api_base
        self._seconds_a_try = seconds_a_try
        self._retries = retries

    @cached_property
    def _client(self) -> "stripe.V1Services":
        from stripe_gateway import sdk  # noqa: PLC0415 - see above

        return sdk.connect(
            self._secret_key, self._api_base, seconds_a_try=self._seconds_a_try, retries=self._retries
        )

    def create(self, mode: str, parameters: Mapping[str, Any], key: str) -> StripePayment:
        """A payment intent, or a checkout session for `mode` `checkout_session`, made once whatever the retries."""
        with _failures():
            service = (
                self._client.checkout.sessions if mode == "checkout_session" else self._client.payment_intents
            )
            made = service.create(parameters, {"idempotency_key": key})  # pyright: ignore[reportArgumentType] - frozen in our row as plain JSON
            return _payment(made)

    def fetch(self, payment_intent_id: str | None, checkout_session_id: str | None) -> StripePayment:
        """The payment by its session where it has one (the session says more), else by its intent."""
        with _failures():
            if checkout_session_id:
                return _payment(self._client.checkout.sessions.retrieve(checkout_session_id))
            return _payment(self._client.payment_intents.retrieve(payment_intent_id or ""))

    def find(self, mode: str, payment_id: str, created_at: float) -> StripePayment | None:
        """What was made for our payment since `created_at` (epoch seconds), under whatever key.

        A list and not a search: search is a minute and more behind (https://docs.stripe.com/search#data-freshness).
        """
        parameters = {"created": {"gte": int(created_at) - CLOCK_MARGIN_SECONDS}, "limit": PAGE}
        with _failures():
            service = (
                self._client.checkout.sessions if mode == "checkout_session" else self._client.payment_intents
            )
            for candidate in service.list(parameters).auto_paging_iter():  # pyright: ignore[reportArgumentType] - both take these two
                if (candidate.metadata or {}) and candidate.metadata.to_dict().get(PAYMENT_ID) == payment_id:
                    return _payment(candidate)
        return None

    def close(self, payment_intent_id: str | None, checkout_session_id: str | None) -> StripePayment:
        """Sees to it that nothing can be paid any more, and answers what Stripe says then: canceled, or why not.

        An open session is expired; its intent cannot be cancelled on its own. What cannot be closed (paid, complete,
        processing) is fetched instead.
        """
        try:
            with _failures():
                if checkout_session_id:
                    return _payment(self._client.checkout.sessions.expire(checkout_session_id))
                return _payment(self._client.payment_intents.cancel(payment_intent_id or ""))
        except StripeRefused:
            return self.fetch(payment_intent_id, checkout_session_id)

    def refund(
        self, payment_intent_id: str, amount: int, refund_id: str, request_id: str | None, key: str
    ) -> RefundSeen:
        """Sends `amount` of the payment back, once under this key; `request_id` is that of the call that asked for it."""
        asked_by = {REQUEST_ID: request_id} if request_id else {}
        with _failures():
            made = self._client.refunds.create(
                {
                    "payment_intent": payment_intent_id,
                    "amount": amount,
                    "metadata": {REFUND_ID: refund_id, **asked_by},
                },
                {"idempotency_key": key},
            )
            return observe_refund(made.to_dict())

    def list_refunds(self, payment_intent_id: str) -> list[RefundSeen]:
        """Every refund of the payment, by whomever it was made, whatever became of it."""
        with _failures():
            listed = self._client.refunds.list({"payment_intent": payment_intent_id, "limit": PAGE})
            return [observe_refund(refund.to_dict()) for refund in listed.auto_paging_iter()]

    def list_events(
        self, types: Sequence[str], *, since: int, after: str | None = None
    ) -> tuple[list[Mapping[str, Any]], bool]:
        """A page of the events of these types (20 at most) since `since` (epoch seconds), and whether there are more.

        Newest first, those that come after the event `after` (https://docs.stripe.com/api/pagination), without client
        secrets. Stripe lists the events of the last 30 days (https://docs.stripe.com/api/events/list), delivered or
        not: `delivery_success` speaks of all of the account's endpoints, and 2xx is not yet what we have committed.
        """
        parameters: dict[str, Any] = {"types": list(types), "created": {"gte": since}, "limit": PAGE}
        if after:
            parameters["starting_after"] = after
        with _failures():
            page = self._client.events.list(parameters)  # pyright: ignore[reportArgumentType] - built in two steps
            return [storable(event.to_dict()) for event in page.data], page.has_more

    def fetch_object(self, kind: str, object_id: str) -> Mapping[str, Any]:
        """An object by its kind (as its `object` says) and id, in the API version that this code was written for."""
        services: Mapping[str, Any] = {
            "payment_intent": self._client.payment_intents,
            "checkout.session": self._client.checkout.sessions,
            "refund": self._client.refunds,
            "dispute": self._client.disputes,
        }
        with _failures():
            return services[kind].retrieve(object_id).to_dict()


def _payment(stripe_object: "stripe.PaymentIntent | stripe.checkout.Session") -> StripePayment:
    data = stripe_object.to_dict()
    return StripePayment(seen=observe(data), client_secret=data.get("client_secret"), url=data.get("url"))


def load_sdk() -> None:
    """Imports the SDK now: for a function that asks Stripe in every call, while its environment starts."""
    importlib.import_module("stripe_gateway.sdk")


def _failures() -> AbstractContextManager[None]:
    from stripe_gateway import sdk  # noqa: PLC0415 - see StripeGateway

    return sdk.failures()
