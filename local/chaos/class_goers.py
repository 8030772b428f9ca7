"""Those of the siege who come for a class: they book without a card as well, move and cancel, while the schedule changes."""

import asyncio
from dataclasses import dataclass, replace
from itertools import count
from random import Random

from local.sale.members import Member, Visit, Way
from local.sale.sale import Sale
from local.sale.studio import EVENING, LATER, is_clear

WAYS = {Way.CREDITS: 40, Way.ON_ARRIVAL: 30, Way.CARD: 30}
CLICKS_TWICE = 0.3
OPENS_PAYMENT = 0.4  # of those who then book by other means
TORN = 0.2  # of those with credits have them for one class, and book two at once
NO_CREDITS = 0.1
MOVES, CANCELS, IS_GIVEN_BACK = 0.6, 0.6, 0.6
GIVEN_BACK = 500
LOOKS_AGAIN = 2  # times as long as who is new to it
SOLD_OUT_PAUSE_S = 0.5


@dataclass
class ClassGoers:
    """`come` is one visit after the other, each drawn from the seed and its number."""

    sale: Sale
    seed: str

    def __post_init__(self) -> None:
        self._numbers = count()
        self._evenings = EVENING

    async def change_schedule(self, _: Random) -> None:
        """The evening classes move by an hour, and the next time back."""
        await self.sale.studio.lay_out(self._evenings)
        self._evenings = LATER if self._evenings == EVENING else EVENING

    async def come(self) -> None:
        """One visit: holds a place, books it, and perhaps wants another class, or none, after all."""
        number = next(self._numbers)
        chance = Random(f"{self.seed}:member {number}")
        way = chance.choices(list(WAYS), list(WAYS.values()))[0]
        visit = Visit(
            number,
            way,
            places=chance.randint(1, 2),
            clicks=1 + (chance.random() < CLICKS_TWICE),
            opens_payment=way is not Way.CARD and chance.random() < OPENS_PAYMENT,
        )
        member = self._enters(visit)
        if way is Way.CREDITS and chance.random() > NO_CREDITS:
            await self.sale.studio.grant(member.user_id, member.credit)
        tabs = [member]
        if way is Way.CREDITS and chance.random() < TORN:
            tabs.append(self._enters(replace(visit, tab=1)))
        held = [each for each in tabs if await self._holds_some_class(each, chance)]
        await asyncio.gather(*(each.book() for each in held))
        for each in held:
            for _ in range(LOOKS_AGAIN if each.charged else 0):  # the storm may have delayed Stripe's word
                if each.is_booked or await each.wait_for_booking():
                    break
            if each.is_booked:
                await self._thinks_again(each, chance)
        if not held:
            await asyncio.sleep(SOLD_OUT_PAUSE_S)

    async def _thinks_again(self, member: Member, chance: Random) -> None:
        if member.visit.way is Way.CARD and chance.random() < IS_GIVEN_BACK:
            answer = await self.sale.studio.refund(member.booking["id"], GIVEN_BACK)
            member.given_back = GIVEN_BACK if answer.kind == "202" else 0
        if chance.random() < MOVES and (wish := await self._some_class(chance)):
            await member.move(wish)
        if chance.random() < CANCELS and is_clear(self.sale.studio.starts[member.slot_id]):
            await member.cancel()

    def _enters(self, visit: Visit) -> Member:
        member = Member(visit, self.sale.crowd, self.sale.studio)
        self.sale.members.append(member)
        return member

    async def _holds_some_class(self, member: Member, chance: Random) -> bool:
        wish = await self._some_class(chance)
        return wish is not None and (await member.hold(wish)).kind == "201"

    async def _some_class(self, chance: Random) -> str | None:
        starts = self.sale.studio.starts
        classes = [slot for slot in await self.sale.studio.on_sale() if is_clear(starts[slot])]
        return chance.choice(classes) if classes else None
