"""The emulated Stripe account: its settings, its stored state, its clock, and one caller's view of it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from local.stripe_emulator.faults import Faults
from local.stripe_emulator.storage import Storage

type Json = dict[str, Any]

# That of the SDK that the functions use. Written down, because importing the SDK to ask it takes longer than
# all else that the emulator does before it listens.
API_VERSION = "2026-10-28.endive"


@dataclass(frozen=True)
class Settings:
    """What the command line says. `webhook_url` is None where nobody listens for events."""

    secret_key: str
    api_version: str
    webhook_url: str | None = None
    webhook_secret: str = ""


@dataclass
class Account:
    """One Stripe account in test mode.

    `clock` answers Unix seconds; `chance` decides about probabilities only, so that a seed repeats them;
    `public_url` is where a browser reaches the emulator; `events_waiting` wakes the webhook delivery.
    """

    settings: Settings
    storage: Storage
    clock: Callable[[], float]
    chance: random.Random
    public_url: str = ""
    faults: Faults = field(default_factory=Faults)
    events_waiting: Callable[[], None] = lambda: None

    def now(self) -> int:
        """The account's time in whole Unix seconds, as Stripe's `created` fields have it."""
        return int(self.clock())


@dataclass(frozen=True)
class Call:
    """One request as an endpoint sees it. A step that no API request caused has no request id."""

    account: Account
    request_id: str | None = None
    idempotency_key: str | None = None
    publishable: bool = False
    path: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def storage(self) -> Storage:
        """The account's storage."""
        return self.account.storage


@dataclass(frozen=True)
class Answer:
    """What an endpoint answers once it has run; a declined card is an answer too, for it changes state."""

    body: Json
    status: int = 200
