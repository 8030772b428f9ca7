"""What callers of `reservations` may send."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from runtime.fields import Form, QueryMoment, RequestModel, Text, printable

type Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=254),
    Form(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", "an e-mail address"),
    AfterValidator(printable),
]


class AddOn(RequestModel):
    """An add-on of the slot's offering."""

    id: UUID
    quantity: Annotated[int, Field(ge=1, le=50)]


class Item(RequestModel):
    """Units of one slot."""

    slot_id: UUID
    units: Annotated[int, Field(ge=1, le=50)]
    add_ons: list[AddOn] = Field(default=[], max_length=20)

    def model_post_init(self, _: object) -> None:
        if len({add_on.id for add_on in self.add_ons}) < len(self.add_ons):
            raise ValueError("each add-on may be named once")


class Customer(RequestModel):
    """Who holds."""

    email: Email
    name: Text
    phone: Annotated[Text | None, Field(max_length=40)] = None


def _each_slot_once(items: list[Item]) -> list[Item]:
    if len({item.slot_id for item in items}) < len(items):
        raise ValueError("each slot may be named once")
    return items


class HoldRequest(RequestModel):
    """A hold on 1 to 20 slots, all or none."""

    items: Annotated[list[Item], Field(min_length=1, max_length=20), AfterValidator(_each_slot_once)]
    customer: Customer


class SlotsQuery(RequestModel):
    """A page of an offering's slots; `from` and `to` bound their beginning, `cursor` is the last page's `next`."""

    offering: Text
    starts_from: Annotated[QueryMoment | None, Field(alias="from")] = None
    starts_to: Annotated[QueryMoment | None, Field(alias="to")] = None
    cursor: Annotated[str | None, Field(max_length=200)] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 100
