"""What `reservations` answers. Amounts are in the currency's minor unit."""

from datetime import datetime
from typing import Literal, NotRequired, TypedDict
from uuid import UUID


class AddOnOnSale(TypedDict):
    """An add-on, and what one of it costs."""

    id: UUID
    name: str
    unit_amount: int


class OfferingOnSale(TypedDict):
    """An offering, and what a unit of it costs; in credits too, where it can be had for them."""

    slug: str
    name: str
    kind: Literal["ticket", "class", "appointment", "package"]
    unit_amount: int
    currency: str
    credits_price: int | None
    timezone: str
    pay_on_arrival: bool
    add_ons: list[AddOnOnSale]


class Offerings(TypedDict):
    """Everything that is on sale."""

    offerings: list[OfferingOnSale]


class SlotLeft(TypedDict):
    """A slot, and what could be held of it now."""

    id: UUID
    offering: str
    starts_at: datetime
    ends_at: datetime
    units_left: int
    bookings_left: int


class Slots(TypedDict):
    """A page of slots, and where there are more the cursor of the next."""

    slots: list[SlotLeft]
    next: NotRequired[str]


class HeldAddOn(TypedDict):
    """An add-on of an item, at the price that was frozen."""

    id: UUID
    quantity: int
    unit_amount: int


class HeldItem(TypedDict):
    """Units of one slot, at the price that was frozen."""

    id: UUID
    slot_id: UUID
    units: int
    unit_amount: int
    add_ons: list[HeldAddOn]


class PaymentOfHold(TypedDict):
    """The payment that was begun last, or that was paid."""

    payment_id: UUID
    mode: Literal["payment_intent", "checkout_session"]
    status: str
    amount: int
    currency: str


class _Hold(TypedDict):
    id: UUID
    status: Literal["active", "expired", "completed", "cancelled"]
    expires_at: datetime
    amount: int
    currency: str
    items: list[HeldItem]


class NewHold(_Hold):
    """A hold, with the token that shows, pays and cancels it."""

    token: str


class Hold(_Hold):
    """A hold as it stands; its payment and its booking once they are there."""

    payment: NotRequired[PaymentOfHold]
    booking_id: NotRequired[UUID]


class Cancelled(TypedDict):
    """The hold has ended."""

    status: Literal["cancelled"]
