"""Whether it is Stripe's word, and then what it calls for; only when that is committed, or queued, is it answered 200."""

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from database.connection import Context, Database
from domain import refusals
from functions.stripe_webhook.strangers import Strangers
from payments.applying import ACTED_ON, apply_event
from runtime.inbox import put_in_inbox
from runtime.observability import count, logger
from runtime.settings import CommaSeparated, StripeSettings, accepted, credential, load
from stripe_gateway.gateway import StripeGateway
from stripe_gateway.webhook import NotAnEvent, NotSignedByStripe, verify


class Settings(StripeSettings):
    """What `stripe-webhook` is told."""

    stripe_webhook_secrets: CommaSeparated
    webhook_inbox_queue_url: str | None = None


@cache
def _database() -> Database:
    return Database(credential(Settings, "database_url"))


@cache
def _gateway() -> StripeGateway:
    return StripeGateway(credential(Settings, "stripe_secret_key"), load(Settings).stripe_api_base)


@cache
def _strangers() -> Strangers:
    return Strangers()


def receive(payload: bytes, signature: str | None, context: Context) -> str:
    """What became of the event: processed, duplicate, ignored, stale, parked, quarantined, or queued.

    Raises `InvalidSignature`, `TooManyRequests`, `MalformedEvent` (nothing is stored), `EventNotApplied`,
    `DatabaseUnavailable` (come again).
    """
    settings = load(Settings)
    try:
        event = _verified(payload, signature, settings)
    except NotSignedByStripe:
        count("WebhookSignatureInvalid")
        # Counted only now, so that nobody's junk shuts out what is signed and comes from the same address.
        if _strangers().failed(context["ip_address"] or "") and settings.rate_limits:
            raise refusals.TooManyRequests from None
        raise refusals.InvalidSignature from None
    except NotAnEvent:
        count("WebhookMalformed")
        raise refusals.MalformedEvent from None
    failed = 1
    try:
        outcome = _applied_or_queued(settings, event, context)
        failed = 0
    finally:
        count("WebhookFailure", failed)  # its average is the rate
    return outcome


def _applied_or_queued(settings: Settings, event: Mapping[str, Any], context: Context) -> str:
    try:
        return apply_event(_database(), _gateway(), settings, event, context)
    except refusals.DatabaseUnavailable:
        return _outlast(settings, event)


def _verified(payload: bytes, signature: str | None, settings: Settings) -> Mapping[str, Any]:
    """The event, by the secrets that are known or else by those that have taken their place meanwhile."""
    for secrets in accepted(settings, "stripe_webhook_secrets", previous=False):
        with suppress(NotSignedByStripe):
            return verify(payload, signature, secrets)
    raise NotSignedByStripe


def _outlast(settings: Settings, event: Mapping[str, Any]) -> str:
    """What becomes of an event while the database is away. Whether a lost COMMIT was done does not matter: it is applied once."""
    if event["type"] not in ACTED_ON:
        return "ignored"
    if not put_in_inbox(settings.webhook_inbox_queue_url, event):
        count("WebhookNotQueued")
        raise refusals.DatabaseUnavailable
    count("WebhookQueued")
    logger.info("webhook", extra={"outcome": "queued", "event_type": event["type"]})
    return "queued"
