"""What `stripe-webhook` answers."""

from typing import Literal, TypedDict


class Received(TypedDict):
    """What became of the event."""

    received: Literal[True]
    outcome: Literal["processed", "duplicate", "ignored", "stale", "parked", "quarantined", "queued"]
