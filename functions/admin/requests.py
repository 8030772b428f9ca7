"""What callers of `admin` may send."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

type EventStatus = Literal[
    "received", "processed", "ignored", "stale", "parked", "quarantined", "failed", "dead"
]
type Replayable = Literal["parked", "failed", "dead", "quarantined"]
type OutboxKind = Literal["notification", "refund", "error_issue"]
type OutboxStatus = Literal["pending", "delivered", "dead", "canceled"]
type Cursor = Annotated[str | None, Field(max_length=400)]
type Limit = Annotated[int, Field(ge=1, le=200)]


class WebhookEventsQuery(BaseModel):
    """A page of events, newest first; `cursor` is the last page's `next`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: EventStatus | None = None
    cursor: Cursor = None
    limit: Limit = 50


class OutboxQuery(BaseModel):
    """A page of the outbox, newest first; `cursor` is the last page's `next`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: OutboxKind | None = None
    status: OutboxStatus | None = None
    cursor: Cursor = None
    limit: Limit = 50


class ReplayRequest(BaseModel):
    """Which events shall be done again, oldest first; `cursor` is the last answer's `next`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Replayable
    type: Annotated[str | None, Field(pattern=r"^[a-z0-9_.]{1,255}$")] = None
    since: AwareDatetime | None = None
    dry_run: bool = False
    cursor: Cursor = None
