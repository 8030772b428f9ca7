"""Settings from the environment: one model a function, read at its first call.

A secret may stand in Secrets Manager instead: `<NAME>_ARN` names it.
"""

import os
from functools import cache
from typing import Annotated, Any, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)


class MissingSetting(Exception):
    """A setting is missing or wrong."""


class Settings(BaseModel):
    """What every function is told about its surroundings."""

    # Built at the first use: each function loads one model of those that stand here.
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    environment: str = "local"
    release: str = "unreleased"
    front_secret: str | None = None
    rate_limits: bool = True
    log_error_function: str | None = None

    @field_validator("rate_limits")
    @classmethod
    def _are_off_locally_alone(cls, rate_limits: bool, info: ValidationInfo) -> bool:
        if not rate_limits and info.data.get("environment") != "local":
            raise ValueError("only the local stack may do without")
        return rate_limits


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(_split), Field(min_length=1)]
Minutes = Annotated[float, Field(gt=0, le=24 * 60)]


class DatabaseSettings(Settings):
    """For a function that has the database."""

    database_url: str


class StripeSettings(DatabaseSettings):
    """For a function that asks Stripe."""

    stripe_secret_key: Annotated[str, Field(pattern=r"^(sk|rk)_(test|live)_")]
    stripe_api_base: str | None = None
    livemode: Annotated[bool, Field(validate_default=True)] = False
    stripe_account_id: str | None = None
    deliver_outbox_function: str | None = None
    funds_days: Annotated[float, Field(gt=0, le=90)] = 7

    @field_validator("livemode")
    @classmethod
    def _fits_the_key(cls, livemode: bool, info: ValidationInfo) -> bool:
        if ("_live_" in info.data.get("stripe_secret_key", "")) != livemode:
            raise ValueError("it is not the mode of STRIPE_SECRET_KEY")
        return livemode


class PaymentSettings(StripeSettings):
    """For a function that may have to make a payment at Stripe, or make it again in order to close it."""

    payment_method_types: CommaSeparated = ("card",)
    checkout_success_url: str
    checkout_cancel_url: str


def load[S: Settings](model: type[S]) -> S:
    """The function's settings, read once; raises `MissingSetting` naming the first that is missing or wrong."""
    return cast("S", _load(model))


@cache
def _load(model: type[Settings]) -> Settings:
    given: dict[str, Any] = {}
    for name in model.model_fields:
        value = _read(name.upper())
        if value:
            given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError as failure:
        problem = failure.errors(include_url=False, include_input=False)[0]
        name = str(problem["loc"][0]).upper()
        raise MissingSetting(f"{name}: {problem['msg']}") from None


def _read(name: str) -> str | None:
    if arn := os.environ.get(f"{name}_ARN"):
        from aws_lambda_powertools.utilities import parameters  # noqa: PLC0415 - brings boto3: 0.3 s that most calls need not wait for

        try:
            return str(parameters.get_secret(arn)).strip()  # pyright: ignore[reportUnknownMemberType] - partly untyped there
        except parameters.GetParameterError as failure:
            raise MissingSetting(f"{name}_ARN: the secret cannot be read") from failure
    return os.environ.get(name)
