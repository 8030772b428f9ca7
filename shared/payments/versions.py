"""The object of an event, as this code reads it."""

from collections.abc import Mapping
from typing import Any

from runtime.observability import count, logger
from stripe_gateway.failures import StripeRefused
from stripe_gateway.gateway import StripeGateway
from stripe_gateway.webhook import API_VERSION


def current_object(gateway: StripeGateway, kind: str, event: Mapping[str, Any]) -> Mapping[str, Any]:
    """The event's object of this kind; of an event in another API version only a hint, by which it is fetched."""
    stripe_object = event["data"]["object"]
    if event.get("api_version") in (None, API_VERSION):
        return stripe_object
    count("WebhookOtherApiVersion")
    logger.warning("event in another API version", extra={"api_version": event["api_version"]})
    try:
        return gateway.fetch_object(kind, str(stripe_object.get("id")))
    except StripeRefused:
        logger.warning("stripe does not know the object of its event")
        return stripe_object
