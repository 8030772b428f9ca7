"""A buyer: holds, opens a payment, pays or does not, and remembers what he was told."""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from local.sale.browser import Browser, Paid
from local.sale.script import Script, Temper
from local.sale.shop import Answer, Shop

BOOKING_PATIENCE_S = 8.0  # whoever waits longer is looked after at the end
LOOKS_AGAIN_S = 0.5


class End(StrEnum):
    """Where a buyer stands."""

    QUEUES = "queues"
    SOLD_OUT = "sold out"
    BOOKED = "booked"
    NEVER_PAID = "never paid"
    WALKED_AWAY = "walked away"
    LEFT_PAGE_OPEN = "left the page open"
    CANCELLED = "cancelled"
    HOLDS_PAGE_OPEN = "waiting with the page open"
    TOO_LATE = "too late"
    PAID = "paid"
    NOT_SERVED = "not served"


@dataclass(frozen=True)
class Catalogue:
    """What is for sale, as the page shows it: two slots, prices in minor units."""

    concert_id: str
    chair_id: str
    seat_amount: int
    chair_amount: int
    add_ons: Sequence[tuple[str, int]]
    currency: str


@dataclass
class Crowd:
    """What all buyers share, and what they have seen together."""

    shop: Shop
    browser: Browser
    catalogue: Catalogue
    seed: str
    told_differently: list[str] = field(default_factory=list[str])
    seen: Counter[str] = field(default_factory=Counter[str])

    def key(self, what: str) -> str:
        """An idempotency key of one act of one person, whatever the seed is made of."""
        return hashlib.sha256(f"{self.seed}:{what}".encode()).hexdigest()[:32]

    async def click(
        self, who: str, times: int, call: Callable[[], Awaitable[Answer]], what: str, granted: tuple[str, ...]
    ) -> Answer:
        """Click once or twice at once under one key: whoever clicks twice is granted one thing, told byte for byte.

        A refusal is stored nowhere, so one click may be refused and the other, a moment later, granted what has just
        come back. From then on the key answers what was granted.
        """
        answers = await asyncio.gather(*(call() for _ in range(times)))
        grants = [answer for answer in answers if answer.kind in granted]
        self.seen["double clicks"] += times > 1
        if grants and len(grants) < times:
            self.seen["refusals beside a grant"] += 1
            again = await call()
            grants += [] if again.says_come_again else [again]
        if len({grant.text for grant in grants}) > 1:
            kinds = " and ".join(each.kind for each in grants)
            self.told_differently.append(f"{who}: clicks for one {what} were told {kinds}")
        return grants[0] if grants else answers[0]


class Buyer:
    """One of the crowd, who follows a script."""

    def __init__(self, script: Script, crowd: Crowd) -> None:
        self.script = script
        self.crowd = crowd
        self.end = End.QUEUES
        self.email = f"buyer-{script.number}@example.com"
        self.price = 0
        self.reservation: dict[str, Any] = {}
        self.payment: dict[str, Any] = {}
        self.booking_id: str | None = None
        self.was_told_cancelled = False
        self.charged = False
        self._visits = 0

    @property
    def reservation_id(self) -> str:
        """The id of the hold that was granted."""
        return self.reservation["id"]

    @property
    def payment_at_stripe(self) -> str:
        """The intent or the session that the buyer was given."""
        return self.payment.get("payment_intent_id") or self.payment["checkout_session_id"]

    async def come(self, *, after_s: float = 0.0) -> None:
        """Try to hold, and then do what the script says; who comes a second time means it."""
        await asyncio.sleep(after_s)
        self._visits += 1
        temper = self.script.temper if self._visits == 1 else Temper.PAYS
        if not await self._hold():
            return
        if temper is Temper.WALKS_AWAY:
            self.end = End.WALKED_AWAY
            return
        if not await self._open_payment():
            return
        match temper:
            case Temper.PAYS | Temper.NEVER_PAYS:
                await self.pay()
            case Temper.LEAVES_PAGE_OPEN:
                self.end = End.LEFT_PAGE_OPEN
            case Temper.CANCELS:
                await self.cancel()
                await self.try_cards()
            case Temper.CHANGES_MIND:
                await asyncio.gather(self.cancel(), self.try_cards())
                if self.end is not End.CANCELLED:
                    await self.wait_for_booking()
            case _:
                self.end = End.HOLDS_PAGE_OPEN

    def _key(self, what: str) -> str:
        """A key of this visit's own."""
        return self.crowd.key(f"{self.script.number}:{self._visits}:{what}")

    async def _hold(self) -> bool:
        script, goods = self.script, self.crowd.catalogue
        add_ons = [
            {"id": add_on_id, "quantity": quantity}
            for (add_on_id, _), quantity in zip(goods.add_ons, script.add_ons, strict=True)
            if quantity
        ]
        seats = {"slot_id": goods.concert_id, "units": script.party, "add_ons": add_ons}
        chair = {"slot_id": goods.chair_id, "units": 1}
        both = [seats, chair] if script.number % 2 else [chair, seats]
        items = {"concert": [seats], "chair": [chair], "both": both}[script.wish]
        self.price = (goods.chair_amount if chair in items else 0) + (
            script.party * goods.seat_amount
            + sum(amount * n for (_, amount), n in zip(goods.add_ons, script.add_ons, strict=True))
            if seats in items
            else 0
        )
        order = {"items": items, "customer": {"email": self.email, "name": f"Buyer {script.number}"}}
        key = self._key("hold")
        answer = await self.crowd.click(
            self.email, script.hold_clicks, lambda: self.crowd.shop.hold(order, key), "hold", ("201",)
        )
        if answer.kind == "201":
            self.reservation = answer.body
            self.crowd.seen["holds granted"] += 1
            return True
        self.end = End.SOLD_OUT if answer.kind == "409 sold-out" else End.NOT_SERVED
        self.crowd.seen["sold out answers"] += self.end is End.SOLD_OUT
        return False

    async def _open_payment(self) -> bool:
        request = {
            "reservation_id": self.reservation_id,
            "mode": self.script.mode,
            "expected_amount": self.price,
            "expected_currency": self.crowd.catalogue.currency,
        }
        token = self.reservation["token"]
        key = self._key("payment")
        answer = await self.crowd.click(
            self.email,
            self.script.pay_clicks,
            lambda: self.crowd.shop.pay(request, token, key),
            "payment",
            ("200", "201"),
        )
        if answer.kind not in ("200", "201"):
            self.end = End.NOT_SERVED
            return False
        self.payment = answer.body
        self.crowd.seen[f"payments as {self.script.mode}"] += 1
        if self.script.second_tab:
            self.crowd.seen["second tabs"] += 1
            other = await self.crowd.shop.pay(request, token, None)
            told = other.body.get("payment_id")
            # Paid already is true where a second intent was: somebody else has its money.
            vague = other.says_come_again or other.kind == "409 already-paid"
            if not vague and told != self.payment["payment_id"]:
                self.crowd.told_differently.append(f"{self.email}: a second tab was told {other.kind} {told}")
        return True

    async def pay(self) -> None:
        """Pay with the first card that works, and wait for the booking."""
        if await self.try_cards():
            await self.wait_for_booking()
        elif self.end is not End.TOO_LATE:
            self.end = End.NEVER_PAID

    async def try_cards(self) -> bool:
        """Whether one of the cards was charged."""
        fails = self.script.fails_first_authentication
        cards = [*self.script.cards, self.script.cards[-1]]
        if self.script.temper is Temper.NEVER_PAYS and self._visits == 1:
            cards.pop()
        elif self.script.temper is Temper.NEVER_PAYS:
            cards = ["pm_card_visa"]
        for card in cards:
            paid = await self.crowd.browser.pay(self.payment, card, fails_authentication=fails)
            fails = False
            if paid is Paid.PAID:
                self.charged = True
                return True
            if paid is Paid.CLOSED:
                self.end = self.end if self.end is End.CANCELLED else End.TOO_LATE
                return False
        return False

    async def cancel(self) -> None:
        """End the hold, unless it is paid already."""
        answer = await self.crowd.shop.cancel(self.reservation_id, self.reservation["token"])
        if answer.kind == "200":
            self.end, self.was_told_cancelled = End.CANCELLED, True
        elif answer.kind != "409 already-paid":
            self.end = End.NOT_SERVED

    async def wait_for_booking(self) -> None:
        """Look at the hold until it is booked, as the page does."""
        self.end = End.PAID
        give_up_at = time.monotonic() + BOOKING_PATIENCE_S
        while time.monotonic() < give_up_at:
            if booking_id := (await self.look()).get("booking_id"):
                self.end, self.booking_id = End.BOOKED, booking_id
                return
            await asyncio.sleep(LOOKS_AGAIN_S)

    async def look(self) -> Mapping[str, Any]:
        """The hold as the page shows it."""
        return (await self.crowd.shop.show(self.reservation_id, self.reservation["token"])).body
