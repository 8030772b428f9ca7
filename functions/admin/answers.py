"""What `admin` answers."""

from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict
from uuid import UUID

from functions.admin.requests import ErrorStatus, EventStatus, OutboxKind, OutboxStatus


class Deliveries(TypedDict):
    """Of a kind of outward effect: how many were delivered, given up, tried, and the share that was delivered."""

    delivered: int
    dead: int
    attempts: int
    success_rate: float | None


class Stats(TypedDict):
    """Counts by status: of reservations here, of all else below. `invariant_violations` are promises that are broken."""

    active: int
    expired: int
    completed: int
    cancelled: int
    oldest_active_at: datetime | None
    counted_at: datetime
    payments: dict[str, int]
    webhook_events: dict[str, int]
    outbox: dict[str, int]
    deliveries: dict[str, Deliveries]
    invariant_violations: int | None


class WebhookEvent(TypedDict):
    """An event of Stripe's and what became of it."""

    id: str
    type: str
    status: EventStatus
    attempts: int
    deliveries: int
    reason: str | None
    last_error: str | None
    received_at: datetime
    processed_at: datetime | None
    next_attempt_at: datetime | None
    payment_id: UUID | None


class WebhookEvents(TypedDict):
    """A page of events, newest first, and where there are more the cursor of the next."""

    events: list[WebhookEvent]
    next: NotRequired[str]


class Replayed(TypedDict):
    """What became of an event that was done again: what the webhook would answer, or `failed`."""

    id: str
    outcome: str


class MatchedEvent(TypedDict):
    """An event that a replay has found; `outcome` where it was done again."""

    id: str
    type: str
    status: EventStatus
    reason: str | None
    attempts: int
    received_at: datetime
    outcome: NotRequired[str]


class Replay(TypedDict):
    """What a replay has done, or in a dry run would do; `next` goes on where it ended."""

    dry_run: bool
    matched: int
    events: list[MatchedEvent]
    next: NotRequired[str]


class OutboxRow(TypedDict):
    """An effect that has left, or is to leave."""

    id: UUID
    kind: OutboxKind
    type: str | None
    status: OutboxStatus
    attempts: int
    last_error: str | None
    refund_id: UUID | None
    request_id: str | None
    created_at: datetime
    delivered_at: datetime | None
    next_attempt_at: datetime | None


class Outbox(TypedDict):
    """A page of effects, newest first, and where there are more the cursor of the next."""

    outbox: list[OutboxRow]
    next: NotRequired[str]


class Balance(TypedDict):
    """What a user can spend."""

    balance: int


class CreditGrant(TypedDict):
    """Credits that were granted together, and what is left of them."""

    id: UUID
    amount: int
    remaining: int
    expires_at: datetime | None
    created_at: datetime


class CreditEntry(TypedDict):
    """One movement of a user's credits."""

    id: int
    kind: str
    delta: int
    reason: str | None
    grant_id: UUID | None
    booking_id: UUID | None
    created_at: datetime


class Credits(Balance):
    """What a user can spend, the grants that it comes from, and a page of entries, newest first."""

    grants: list[CreditGrant]
    entries: list[CreditEntry]
    next: NotRequired[str]


class OfferedAddOn(TypedDict):
    """An add-on that is sold; amounts in the offering's minor unit."""

    id: UUID
    name: str
    unit_amount: int


class Offering(TypedDict):
    """An offering as those see it who change it."""

    slug: str
    name: str
    kind: Literal["ticket", "class", "appointment", "package"]
    unit_amount: int
    currency: str
    credits_price: int | None
    timezone: str
    pay_on_arrival: bool
    retired: bool
    add_ons: list[OfferedAddOn]
    version: int


class EndedOffering(TypedDict):
    """Deleted, or retired where something of it was held or sold."""

    status: Literal["deleted", "retired"]


class Refreshed(TypedDict):
    """What became of an offering's future slots."""

    created: int
    kept: int
    legacy: int
    deleted: int
    blocked: int


class Slot(TypedDict):
    """A slot, how much it has, and how much of that is taken."""

    id: UUID
    offering: str
    starts_at: datetime
    ends_at: datetime
    max_bookings: int
    max_units: int
    held_bookings: int
    held_units: int
    sold_bookings: int
    sold_units: int
    is_legacy: bool


class AuditEntry(TypedDict):
    """One change: of what, by whom, from where and why, before and after."""

    id: int
    table_name: str
    row_id: str
    action_type: str
    old_values: dict[str, Any] | None
    new_values: dict[str, Any] | None
    performed_by: str
    performed_by_id: str | None
    ip_address: str | None
    user_agent: str | None
    reason: str | None
    request_id: str | None
    stripe_event_id: str | None
    created_at: datetime
    sealed: bool


class Audit(TypedDict):
    """Every change of a booking, oldest first."""

    entries: list[AuditEntry]


class StoryEntry(TypedDict):
    """One thing that happened, with what there is to say of it: money in minor units, seats, credits, and who did it.

    `subject` is what it happened to, `event_id` the event of Stripe's that brought it.
    """

    at: datetime
    what: str
    who: str
    request_id: NotRequired[str]
    amount: NotRequired[int]
    currency: NotRequired[str]
    seats: NotRequired[int]
    credits: NotRequired[int]
    subject: NotRequired[str]
    event_id: NotRequired[str]
    detail: NotRequired[str]


class Story(TypedDict):
    """All that became of a reservation, in order; `reservation_id` is null for an event that is about none of ours."""

    reservation_id: UUID | None
    booking_id: UUID | None
    entries: list[StoryEntry]


class ErrorGroup(TypedDict):
    """One error, however often it was seen."""

    fingerprint: str
    status: ErrorStatus
    severity: Literal["debug", "info", "warning", "error", "critical"]
    source: Literal["frontend", "backend"]
    title: str
    occurrence_count: int
    first_seen: datetime
    last_seen: datetime
    opened_at: datetime
    openings: int
    issue_url: str | None


class Errors(TypedDict):
    """A page of errors, those opened last first, and where there are more the cursor of the next."""

    errors: list[ErrorGroup]
    next: NotRequired[str]
