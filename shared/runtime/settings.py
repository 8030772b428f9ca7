"""Settings from the environment: one model a function, read at its first call.

A secret may stand in Secrets Manager instead: `<NAME>_ARN` names it. There it can be rotated at any time: it is read
again every five minutes, at the beginning of a call, and at once where its present value is refused.
"""

import os
from collections.abc import Generator
from dataclasses import dataclass
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

from domain.credential import Credential
from runtime.observability import count, logger
from runtime.secret_store import SecretUnreadable, secret_store

# A secret that was refused is worth a look at once, though not one for each of a crowd that waits for it.
REFUSED_SECONDS = 1.0
STRANGERS_SECONDS = 60.0


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
    # What may be asked for in a minute, from one address and by one caller, of each function.
    rate_limit_address: Annotated[int, Field(ge=1, le=1_000_000)] = 600
    rate_limit_identity: Annotated[int, Field(ge=1, le=1_000_000)] = 60
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
    """The function's settings; raises `MissingSetting` naming the first that is missing or wrong."""
    return cast("S", _load(model).settings())


def renew_secrets() -> None:
    """Reads again the secrets that were read long enough ago. Each call begins with it, and so has one set of them."""
    secret_store().renew_old()


def credential(model: type[Settings], name: str) -> Credential:
    """The field `name` of the settings, for whoever keeps it: rotated in Secrets Manager, it changes there as well."""
    return _Rotated(model, name)


def accepted(settings: Settings, name: str, *, previous: bool = True) -> Generator[Any]:
    """The values of the field `name` under which others may have signed: the one that holds, and those of a rotation.

    Each is looked for only where the one before did not do: first what has taken its place meanwhile, then, with
    `previous`, what that has replaced (AWSPREVIOUS), which is good until the next rotation.
    """
    model = type(settings)
    yield (value := getattr(settings, name))
    arn = os.environ.get(f"{name.upper()}_ARN")
    if not arn:
        return
    # Anybody can send what nobody has signed: that is worth one question a minute and no more.
    secret_store().renew(arn, at_most_every=STRANGERS_SECONDS)
    if (newer := getattr(load(model), name)) != value:
        yield newer
    if previous and (older := secret_store().previous(arn)):
        try:
            yield getattr(_validated(model, {**_given(model), name: older}), name)
        except MissingSetting:
            return  # a mistake that somebody has put right since


class _Loaded:
    """A model's settings, and those that come in their place once a secret has changed."""

    def __init__(self, model: type[Settings]) -> None:
        self._model = model
        self._generation = secret_store().generation
        self._settings = _validated(model, _given(model))

    def settings(self) -> Settings:
        if self._generation != (generation := secret_store().generation):
            self._generation = generation
            try:
                self._settings = _validated(self._model, _given(self._model))
            except MissingSetting as wrong:
                # Whoever has mistyped a secret has not stopped the sale: the value before may well be good still.
                logger.critical("a rotated secret is not used: %s", wrong)
                count("SecretNotUsable")
        return self._settings


@cache
def _load(model: type[Settings]) -> _Loaded:
    return _Loaded(model)


@dataclass(frozen=True, slots=True)
class _Rotated:
    """A field of a model as a `Credential`."""

    model: type[Settings]
    name: str

    def current(self) -> str:
        return str(getattr(load(self.model), self.name))

    def renew(self) -> None:
        if arn := os.environ.get(f"{self.name.upper()}_ARN"):
            secret_store().renew(arn, at_most_every=REFUSED_SECONDS)


def _given(model: type[Settings]) -> dict[str, Any]:
    return {name: value for name in model.model_fields if (value := _read(name.upper()))}


def _validated(model: type[Settings], given: dict[str, Any]) -> Settings:
    try:
        return model.model_validate(given)
    except ValidationError as failure:
        problem = failure.errors(include_url=False, include_input=False)[0]
        name = str(problem["loc"][0]).upper()
        raise MissingSetting(f"{name}: {problem['msg']}") from None


def _read(name: str) -> str | None:
    if arn := os.environ.get(f"{name}_ARN"):
        try:
            return secret_store().current(arn)
        except SecretUnreadable as failure:
            raise MissingSetting(f"{name}_ARN: the secret cannot be read") from failure
    return os.environ.get(name)
