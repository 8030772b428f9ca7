"""A member of the studio: books a class with credits, on arrival or by card, moves it, cancels it, and keeps count."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from local.sale.browser import Paid
from local.sale.buyers import BOOKING_PATIENCE_S, LOOKS_AGAIN_S, Crowd
from local.sale.shop import Answer
from local.sale.studio import Studio, share

TRIES = 4  # of a change: each finds another version only where another tab was faster, or an answer was lost
WHOLE = 100


class Way(StrEnum):
    """How a class is booked."""

    CREDITS = "credits"
    ON_ARRIVAL = "pay_on_arrival"
    CARD = "pay_now"


@dataclass(frozen=True)
class Visit:
    """What a member comes for. `opens_payment`: he opens the card form first, and then books by other means.

    One member may come in several tabs at once, each with keys of its own.
    """

    number: int
    way: Way
    places: int = 1
    clicks: int = 1
    opens_payment: bool = False
    tab: int = 0


class Member:
    """One visit. `booking` is what the member was told last.

    `percent` is what cancelling gives back at most since it was moved, `given_up_for` what the page said when the member
    cancelled; `given_back` what an administrator has refunded besides; `verdict` what the bank says of a dispute.
    """

    def __init__(self, visit: Visit, crowd: Crowd, studio: Studio) -> None:
        self.visit = visit
        self.crowd = crowd
        self.studio = studio
        self.email = f"member-{visit.number}@example.com"
        self.user_id = f"member-{visit.number}"
        self.reservation: dict[str, Any] = {}
        self.payment: dict[str, Any] = {}
        self.booking: dict[str, Any] = {}
        self.slot_id = ""
        self.percent = WHOLE
        self.given_up_for = 0
        self.given_back = 0
        self.verdict = ""
        self.charged = False
        self.was_told_cancelled = False
        self.moves = 0

    @property
    def price(self) -> int:
        """What the places cost in money, by the page."""
        return self.visit.places * self.studio.unit_amount

    @property
    def credit(self) -> int:
        """What they cost in credits."""
        return self.visit.places * self.studio.credits_price if self.visit.way is Way.CREDITS else 0

    @property
    def headers(self) -> Mapping[str, str]:
        """The token of the hold, and the sign-in."""
        return {"X-Reservation-Token": self.reservation["token"], **self.studio.signed_in(self.user_id)}

    @property
    def share_now(self) -> int:
        """The percent that cancelling would give back now, by the page."""
        return min(self.percent, share(self.studio.starts[self.slot_id]))

    @property
    def intent_id(self) -> str:
        """The intent that was opened for the hold, if one was."""
        return self.payment.get("payment_intent_id", "")

    @property
    def is_booked(self) -> bool:
        """Whether the member was told of a booking that stands."""
        return bool(self.booking) and not self.was_told_cancelled

    async def hold(self, slot_id: str) -> Answer:
        """Ask for places in a class."""
        order = {
            "items": [{"slot_id": slot_id, "units": self.visit.places}],
            "customer": {"email": self.email, "name": f"Member {self.visit.number}"},
        }
        answer = await self._click(
            lambda key: self.crowd.shop.hold_a_class(order, key), f"hold {slot_id}", "class"
        )
        if answer.kind == "201":
            self.reservation, self.slot_id = answer.body, slot_id
        return answer

    async def book(self) -> Answer | None:
        """Book what is held, in the way of this visit; None where a card was not charged."""
        visit = self.visit
        if visit.way is Way.CARD or visit.opens_payment:
            await self.open_payment()
        if visit.way is Way.CARD:
            if await self.try_card():
                await self.wait_for_booking()
            return None
        body = {"reservation_id": self.reservation["id"], "payment_method": visit.way}
        answer = await self._click(
            lambda key: self.crowd.shop.book(body, self.headers, key),
            f"book {self.reservation['id']}",
            "booking",
        )
        if answer.kind in ("200", "201"):
            self.booking = answer.body
        if visit.opens_payment and self.payment:
            await self.try_card()  # in the tab that is still open
        return answer

    async def open_payment(self) -> None:
        """The card form."""
        body = {"reservation_id": self.reservation["id"], "expected_amount": self.price}
        answer = await self.crowd.shop.pay(
            body, self.reservation["token"], self._key(f"pay {self.reservation['id']}")
        )
        if answer.kind in ("200", "201"):
            self.payment = answer.body

    async def try_card(self) -> bool:
        """Whether the card was charged."""
        if not self.payment:
            return False
        paid = await self.crowd.browser.pay(self.payment, "pm_card_visa", fails_authentication=False)
        self.charged = paid is Paid.PAID
        return self.charged

    async def wait_for_booking(self, patience_s: float = BOOKING_PATIENCE_S) -> bool:
        """Look at the hold until it is booked, as the page does; whether it was."""
        give_up_at = time.monotonic() + patience_s
        while time.monotonic() < give_up_at:
            if await self.find_booking():
                return True
            await asyncio.sleep(LOOKS_AGAIN_S)
        return False

    async def find_booking(self) -> bool:
        """Whether the hold says that it is booked; then the booking is looked at."""
        hold = (await self.crowd.shop.show(self.reservation["id"], self.reservation["token"])).body
        if booking_id := hold.get("booking_id"):
            self.booking = {"id": booking_id}
            await self.look()
        return bool(self.booking)

    async def look(self) -> Mapping[str, Any]:
        """The booking as its page shows it."""
        answer = await self.crowd.shop.booking(self.booking["id"], self.headers)
        if answer.kind == "200":
            self.booking = answer.body
        return self.booking

    async def move(self, slot_id: str) -> str:
        """Ask for another class; the kind of the last answer, `200` where the booking is there now."""
        before, percent = self.slot_id, self.share_now
        kind = await self._change(
            lambda version: self.crowd.shop.move(
                self.booking["id"], {"slot_id": slot_id}, version, self.headers
            ),
            lambda: _slot_of(self.booking) == slot_id,
        )
        if kind == "200":
            self.slot_id = slot_id
            if before != slot_id:
                self.moves, self.percent = self.moves + 1, percent
        return kind

    async def move_in_two_tabs(self, one: str, other: str) -> list[str]:
        """Both tabs have the same version, and want to go to different classes; the kinds of their answers."""
        version, percent = self.booking["version"], self.share_now
        answers = await asyncio.gather(
            *(
                self.crowd.shop.move(self.booking["id"], {"slot_id": slot_id}, version, self.headers)
                for slot_id in (one, other)
            )
        )
        kinds = sorted(answer.kind for answer in answers)
        if kinds.count("200") > 1:
            self._was_told(f"one version was moved twice: {kinds}")
        await self.look()
        if (now := _slot_of(self.booking)) != self.slot_id:
            self.slot_id, self.moves, self.percent = now, self.moves + 1, percent
        return kinds

    async def cancel(self) -> str:
        """Cancel, whatever version it has by now; the kind of the last answer, `200` where it is cancelled."""
        self.given_up_for = self.share_now
        kind = await self._change(
            lambda version: self.crowd.shop.give_up(
                self.booking["id"], {"reason": "ill"}, version, self.headers
            ),
            lambda: self.booking["status"] == "cancelled",
        )
        self.was_told_cancelled = kind == "200"
        return kind

    async def _change(self, change: Callable[[int], Awaitable[Answer]], is_done: Callable[[], bool]) -> str:
        """Whose answer was lost finds the version changed, and looks whether that was he."""
        kind = ""
        for _ in range(TRIES):
            answer = await change(self.booking["version"])
            kind = answer.kind
            if kind == "200":
                self.booking = answer.body
                return kind
            await self.look()
            if is_done():
                return "200"
            if kind != "412 version-conflict":
                return kind
        return kind

    async def _click(self, call: Callable[[str], Awaitable[Answer]], key_of: str, what: str) -> Answer:
        key = self._key(key_of)
        return await self.crowd.click(self.email, self.visit.clicks, lambda: call(key), what, ("200", "201"))

    def _key(self, what: str) -> str:
        return self.crowd.key(f"member {self.visit.number}:{self.visit.tab}:{what}")

    def _was_told(self, story: str) -> None:
        self.crowd.told_differently.append(f"{self.email}: {story}")


def _slot_of(booking: Mapping[str, Any]) -> str:
    return booking["items"][0]["slot_id"]
