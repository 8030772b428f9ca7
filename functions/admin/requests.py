"""What callers of `admin` may send."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from runtime.fields import Moment, Text

type EventStatus = Literal[
    "received", "processed", "ignored", "stale", "parked", "quarantined", "failed", "dead"
]
type Replayable = Literal["parked", "failed", "dead", "quarantined"]
type OutboxKind = Literal["notification", "refund", "error_issue"]
type OutboxStatus = Literal["pending", "delivered", "dead", "canceled"]
type Cursor = Annotated[str | None, Field(max_length=400)]
type Limit = Annotated[int, Field(ge=1, le=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WebhookEventsQuery(_Strict):
    """A page of events, newest first; `cursor` is the last page's `next`."""

    status: EventStatus | None = None
    cursor: Cursor = None
    limit: Limit = 50


class OutboxQuery(_Strict):
    """A page of the outbox, newest first; `cursor` is the last page's `next`."""

    kind: OutboxKind | None = None
    status: OutboxStatus | None = None
    cursor: Cursor = None
    limit: Limit = 50


class ReplayRequest(_Strict):
    """Which events shall be done again, oldest first; `cursor` is the last answer's `next`."""

    status: Replayable
    type: Annotated[str | None, Field(pattern=r"^[a-z0-9_.]{1,255}$")] = None
    since: AwareDatetime | None = None
    dry_run: bool = False
    cursor: Cursor = None


class CreditsRequest(_Strict):
    """Credits to grant, or with a negative `delta` to take away; only what is granted expires."""

    delta: Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
    reason: Text
    expires_at: Moment | None = None

    def model_post_init(self, _: object) -> None:
        if self.delta == 0:
            raise ValueError("a delta of 0 changes nothing")
        if self.delta < 0 and self.expires_at is not None:
            raise ValueError("what is taken away does not expire")


class PageQuery(_Strict):
    """A page, newest first; `cursor` is the last page's `next`."""

    cursor: Cursor = None
    limit: Limit = 50
