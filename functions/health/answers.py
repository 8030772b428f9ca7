"""What `health` answers."""

from typing import Literal, TypedDict


class Live(TypedDict):
    """The function runs."""

    status: Literal["live"]


class DatabaseState(TypedDict):
    """Whether the database answers, and has the tables that this code was written for."""

    reached: bool
    migrations_current: bool


class StripeState(TypedDict):
    """The kind of Stripe key, and whether it is the kind that is meant."""

    key_mode: Literal["live", "test"]
    fits_livemode: bool


class QueueState(TypedDict):
    """The inbox that webhooks wait in while the database is away."""

    configured: bool
    reached: bool


class Readiness(TypedDict):
    """Whether this deployment can work, and the state of each part."""

    status: Literal["ready", "unready"]
    database: DatabaseState
    stripe: StripeState
    queue: QueueState
