"""Settings, database and Stripe, for all that is done with bookings."""

from functools import cache
from typing import Annotated

from pydantic import BeforeValidator, Field

from database.connection import Database
from domain.booking import CancelPolicy, parse_cancel_policy
from runtime.settings import PaymentSettings, credential, load
from stripe_gateway.gateway import StripeGateway


class Settings(PaymentSettings):
    """What `bookings` is told."""

    token_secret: str = Field(min_length=16)
    cancel_policy: Annotated[CancelPolicy, BeforeValidator(parse_cancel_policy)] = ((24, 100),)


@cache
def bookings_database() -> Database:
    """The one connection of this execution environment."""
    return Database(credential(Settings, "database_url"))


@cache
def bookings_gateway() -> StripeGateway:
    """Stripe, whom only a hold with an open payment needs."""
    return StripeGateway(credential(Settings, "stripe_secret_key"), load(Settings).stripe_api_base)
