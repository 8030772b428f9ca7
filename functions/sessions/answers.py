"""What `sessions` answers, beside the cookie."""

from typing import Literal, TypedDict


class Session(TypedDict):
    """What every change has to send back as X-CSRF-Token."""

    csrf: str


class Ended(TypedDict):
    """There is no session any more."""

    status: Literal["ended"]
