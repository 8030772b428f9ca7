"""What `bookings` answers. Amounts are in the currency's minor unit."""

from datetime import datetime
from typing import Literal, NotRequired, TypedDict
from uuid import UUID


class BookedAddOn(TypedDict):
    """An add-on of an item, at the price that was paid."""

    id: UUID
    quantity: int
    unit_amount: int


class BookedItem(TypedDict):
    """Units of one slot, at the price that was paid."""

    id: UUID
    slot_id: UUID
    starts_at: datetime
    ends_at: datetime
    units: int
    unit_amount: int
    add_ons: list[BookedAddOn]


class Booking(TypedDict):
    """A booking; `version` is what its next change has to name."""

    id: UUID
    reservation_id: UUID
    status: Literal["confirmed", "cancelled", "frozen", "revoked"]
    payment_method: Literal["pay_now", "pay_on_arrival", "credits", "free"]
    payment_status: Literal["pending", "paid", "failed", "refunded", "partially_refunded", "disputed", "free"]
    amount: int
    currency: str
    credits: NotRequired[int]
    version: int
    created_at: datetime
    cancelled_at: NotRequired[datetime]
    items: list[BookedItem]


class RefundOnTheWay(TypedDict):
    """Money that goes back."""

    id: UUID
    amount: int
    currency: str
    status: str


class CancelledBooking(Booking):
    """A booking that has ended, and what goes back by the policy."""

    refund: NotRequired[RefundOnTheWay]
    returned_credits: NotRequired[int]


class Refund(RefundOnTheWay):
    """Money that goes back because a person said so."""

    booking_id: UUID
    payment_id: UUID
    reason: str


class Bookings(TypedDict):
    """A page of bookings, newest first, and where there are more the cursor of the next."""

    bookings: list[Booking]
    next: NotRequired[str]
