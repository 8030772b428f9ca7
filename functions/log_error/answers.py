"""What `log-error` answers."""

from typing import TypedDict


class Counted(TypedDict):
    """The group that an error belongs to, how often it was seen, and whether this was the first time."""

    fingerprint: str
    occurrence_count: int
    new: bool
