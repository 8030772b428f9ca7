"""What callers of `admin` may send."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

type EventStatus = Literal[
    "received", "processed", "ignored", "stale", "parked", "quarantined", "failed", "dead"
]


class WebhookEventsQuery(BaseModel):
    """A page of events, newest first; `cursor` is the last page's `next`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: EventStatus | None = None
    cursor: Annotated[str | None, Field(max_length=400)] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50
