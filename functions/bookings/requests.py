"""What callers of `bookings` may send."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from runtime.fields import RequestModel, Text


class BookingRequest(RequestModel):
    """A hold that shall be booked without a payment."""

    reservation_id: UUID
    payment_method: Literal["pay_on_arrival", "credits", "free"]


class BookingsQuery(RequestModel):
    """A page of bookings, newest first, of a status and with a line of an offering where these are named.

    `cursor` is the last page's `next`.
    """

    status: Literal["confirmed", "cancelled", "frozen", "revoked"] | None = None
    offering: Text | None = None
    cursor: Annotated[str | None, Field(max_length=200)] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class CancelRequest(RequestModel):
    """Why a booking is cancelled."""

    reason: Text


class RescheduleRequest(RequestModel):
    """Where a line of a booking shall go; which one may be left out where there is one."""

    slot_id: UUID
    item_id: UUID | None = None


class RefundRequest(RequestModel):
    """How much of a booking's money shall go back, all that is left where no amount is named, and why."""

    amount: Annotated[int | None, Field(ge=1, le=999_999_999_999)] = None
    reason: Text
