"""What callers of `admin` may send."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field

from domain.currencies import CURRENCIES
from runtime.fields import Form, Moment, RequestModel, Text

type EventStatus = Literal[
    "received", "processed", "ignored", "stale", "parked", "quarantined", "failed", "dead"
]
type Replayable = Literal["parked", "failed", "dead", "quarantined"]
type OutboxKind = Literal["notification", "refund", "error_issue"]
type ErrorStatus = Literal["open", "resolved", "muted"]
type OutboxStatus = Literal["pending", "delivered", "dead", "canceled"]
type Cursor = Annotated[str | None, Field(max_length=400)]
type Limit = Annotated[int, Field(ge=1, le=200)]
type Amount = Annotated[int, Field(ge=0, le=999_999_999_999)]
type Capacity = Annotated[int, Field(ge=0, le=1_000_000)]


class WebhookEventsQuery(RequestModel):
    """A page of events, newest first; `cursor` is the last page's `next`."""

    status: EventStatus | None = None
    cursor: Cursor = None
    limit: Limit = 50


class OutboxQuery(RequestModel):
    """A page of the outbox, newest first; `cursor` is the last page's `next`."""

    kind: OutboxKind | None = None
    status: OutboxStatus | None = None
    cursor: Cursor = None
    limit: Limit = 50


class ErrorsQuery(RequestModel):
    """A page of errors' groups, those opened last first; `cursor` is the last page's `next`."""

    status: ErrorStatus | None = None
    cursor: Cursor = None
    limit: Limit = 50


class ReplayRequest(RequestModel):
    """Which events shall be done again, oldest first; `cursor` is the last answer's `next`."""

    status: Replayable
    type: (
        Annotated[str, Form(r"[a-z0-9_.]{1,255}", "the type of an event, such as charge.refunded")] | None
    ) = None
    since: AwareDatetime | None = None
    dry_run: bool = False
    cursor: Cursor = None


class CreditsRequest(RequestModel):
    """Credits to grant, or with a negative `delta` to take away; only what is granted expires."""

    delta: Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
    reason: Text
    expires_at: Moment | None = None

    def model_post_init(self, _: object) -> None:
        if self.delta == 0:
            raise ValueError("a delta of 0 changes nothing")
        if self.delta < 0 and self.expires_at is not None:
            raise ValueError("what is taken away does not expire")


class PageQuery(RequestModel):
    """A page, newest first; `cursor` is the last page's `next`."""

    cursor: Cursor = None
    limit: Limit = 50


class AddOn(RequestModel):
    """An add-on of an offering: the one of that id; without one, that of this name, or a new one."""

    id: UUID | None = None
    name: Text
    unit_amount: Amount


def _chargeable(currency: str) -> str:
    if currency not in CURRENCIES:
        raise ValueError("Input should be a currency that Stripe charges in, in lower case")
    return currency


def _each_once(add_ons: list[AddOn]) -> list[AddOn]:
    ids = [add_on.id for add_on in add_ons if add_on.id]
    if len(set(ids)) < len(ids) or len({add_on.name for add_on in add_ons}) < len(add_ons):
        raise ValueError("each add-on may be named once")
    return add_ons


class OfferingRequest(RequestModel):
    """An offering as a whole: what is left out is not there, or as by default.

    `slug` and `version` may be sent back as they were shown; they are those of the path and of If-Match.
    """

    slug: str | None = None
    version: int | None = None
    name: Text
    kind: Literal["ticket", "class", "appointment", "package"]
    unit_amount: Amount
    currency: Annotated[str, AfterValidator(_chargeable)]
    credits_price: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    timezone: Text
    pay_on_arrival: bool = False
    retired: bool = False
    add_ons: Annotated[list[AddOn], Field(max_length=100), AfterValidator(_each_once)] = Field(default=[])


class SlotRequest(RequestModel):
    """How much a slot has."""

    max_bookings: Capacity
    max_units: Capacity
