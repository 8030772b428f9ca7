"""Whether it is Stripe's word, and then what it calls for; only when that is committed is it answered 200."""

from functools import cache

from database.connection import Context, Database
from domain import refusals
from payments.applying import apply_event
from runtime.observability import count
from runtime.settings import CommaSeparated, StripeSettings, load
from stripe_gateway.gateway import StripeGateway
from stripe_gateway.webhook import NotAnEvent, NotSignedByStripe, verify


class Settings(StripeSettings):
    """What `stripe-webhook` is told."""

    stripe_webhook_secrets: CommaSeparated


@cache
def _database() -> Database:
    return Database(load(Settings).database_url)


@cache
def _gateway() -> StripeGateway:
    settings = load(Settings)
    return StripeGateway(settings.stripe_secret_key, settings.stripe_api_base)


def receive(payload: bytes, signature: str | None, context: Context) -> str:
    """What became of the event: processed, duplicate, ignored, stale, parked or quarantined.

    Raises `InvalidSignature`, `MalformedEvent` (nothing is stored), `EventNotApplied`, `DatabaseUnavailable` (come again).
    """
    settings = load(Settings)
    try:
        event = verify(payload, signature, settings.stripe_webhook_secrets)
    except NotSignedByStripe:
        count("WebhookSignatureInvalid")
        raise refusals.InvalidSignature from None
    except NotAnEvent:
        count("WebhookMalformed")
        raise refusals.MalformedEvent from None
    return apply_event(_database(), _gateway(), settings, event, context)
