"""The studio, scene by scene: classes booked without a card, moved and cancelled, and a schedule that changes meanwhile."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime

from local.breakage.cuts import CutPlan
from local.breakage.kills import Kills
from local.sale.members import WHOLE, Member, Visit, Way
from local.sale.sale import Sale
from local.sale.studio import EVENING, LATER, is_clear, share

BY_CREDITS, ON_ARRIVAL, BY_CARD = 6, 6, 6
CARD_FORMS_OPEN = 2  # of those who book on arrival
TORN = 3  # who have credits for one class, and book two
MOVERS = 4
ENVIRONMENTS_KILLED = 2
COPIES, SHUFFLE_MS = 2, 200
GIVEN_BACK = 500
PATIENCE_S = 60.0  # of who has paid, on a machine that does other things as well


@dataclass
class StudioStory:
    """Its scenes on the same cloud; `torn` are two visits each of one member."""

    sale: Sale
    kills: Kills
    cuts: CutPlan
    torn: list[tuple[Member, Member]] = field(default_factory=list[tuple[Member, Member]])

    async def play(self) -> None:
        """All scenes; afterwards events may still be on their way."""
        await self.sale.weather.put({"duplicate": COPIES, "shuffle_ms": SHUFFLE_MS})
        await self._members_book()
        await self._members_move()
        await self._members_cancel()
        await self._the_schedule_changes()

    async def _members_book(self) -> None:
        sale, studio = self.sale, self.sale.studio
        created = (await studio.lay_out(EVENING))["created"]
        title = (
            f"The studio opens: a schedule makes {created} classes. {BY_CREDITS} members book with credits and click"
            f" twice; {TORN} have credits for one class and book two at once; {ON_ARRIVAL} book on arrival, {CARD_FORMS_OPEN}"
            f" of them with a card form open that they submit as well; {BY_CARD} pay. Connections are cut between any two"
            f" statements, {ENVIRONMENTS_KILLED} environments killed -9."
        )
        async with sale.programme.scene(title, self._so_far), sale.leases_of_the_dead_end():
            await studio.shown()
            evenings = studio.at(EVENING)
            visits = [
                *((Way.CREDITS, 1 + number % 2, False) for number in range(BY_CREDITS)),
                *((Way.ON_ARRIVAL, 1, number < CARD_FORMS_OPEN) for number in range(ON_ARRIVAL)),
                *((Way.CARD, 1, False) for _ in range(BY_CARD)),
            ]
            self.cuts.enabled = True
            async with asyncio.TaskGroup() as all_at_once:
                for number, (way, places, opens_payment) in enumerate(visits):
                    visit = Visit(number, way, places, clicks=2, opens_payment=opens_payment)
                    all_at_once.create_task(self._hold_and_book(self._comes(visit), self._some_class(number)))
                for number in range(TORN):
                    visit = Visit(len(visits) + number, Way.CREDITS, clicks=2)
                    one, other = self._comes(visit), self._comes(replace(visit, tab=1))
                    self.torn.append((one, other))
                    wanted = evenings[-1 - 2 * number], evenings[-2 - 2 * number]
                    all_at_once.create_task(self._book_twice(one, other, *wanted))
                for _ in range(ENVIRONMENTS_KILLED):
                    all_at_once.create_task(self.kills.environment())
            self.cuts.enabled = False
            paid = [member for member in sale.members if member.charged]
            await asyncio.gather(*(member.wait_for_booking(PATIENCE_S) for member in paid))
        sale.counts["refused: no credits left"] = sum(
            bool(one.booking) != bool(other.booking) for one, other in self.torn
        )

    def _comes(self, visit: Visit) -> Member:
        member = Member(visit, self.sale.crowd, self.sale.studio)
        self.sale.members.append(member)
        return member

    def _some_class(self, number: int) -> str:
        """In turn one of the next day, of the day after, and far ahead: nothing, half and all of the price would come back."""
        shares = sorted({share(at) for at in self.sale.studio.starts.values()})
        wanted = shares[number % len(shares)]
        classes = [
            slot for slot, at in self.sale.studio.starts.items() if is_clear(at) and share(at) == wanted
        ]
        return classes[number % len(classes)]

    async def _hold_and_book(self, member: Member, slot_id: str) -> None:
        if member.credit:
            await self.sale.studio.grant(member.user_id, member.credit + 1)
        if (await member.hold(slot_id)).kind == "201":
            await member.book()

    async def _book_twice(self, one: Member, other: Member, slot_id: str, another_id: str) -> None:
        await self.sale.studio.grant(one.user_id, one.credit)
        await asyncio.gather(one.hold(slot_id), other.hold(another_id))
        await asyncio.gather(one.book(), other.book())

    async def _members_move(self) -> None:
        sale, studio = self.sale, self.sale.studio
        movers = self._booked()[:MOVERS]
        kinds: Counter[str] = Counter()
        title = (
            f"{len(movers)} members move to classes far ahead, each in two tabs at once, to two classes. One more wants a"
            " class that has no room any more."
        )

        def told() -> str:
            return ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common())

        async with sale.programme.scene(title, told):
            ahead = sorted(studio.starts, key=studio.starts.__getitem__, reverse=True)
            wishes = zip(movers, ahead[0::2], ahead[1::2], strict=False)
            answers = await asyncio.gather(
                *(member.move_in_two_tabs(one, other) for member, one, other in wishes)
            )
            kinds = Counter(kind for each in answers for kind in each)
            taken = {member.slot_id for member in sale.members}
            full = next(slot for slot in ahead if slot not in taken)
            await studio.close_class(full)
            kinds[await self._booked()[MOVERS].move(full)] += 1
        sale.counts["bookings moved"] = kinds["200"]
        sale.counts["moves refused: the other tab was first"] = kinds["412 version-conflict"]
        sale.counts["moves refused: no room"] = kinds["409 sold-out"]

    async def _members_cancel(self) -> None:
        sale = self.sale
        each = {(member.visit.way, member.share_now): member for member in reversed(self._booked())}
        going = [member for member in each.values() if is_clear(_start(member))]
        shares = ", ".join(f"{percent} %" for percent in sorted({member.share_now for member in going}))
        title = (
            f"{len(going)} members cancel, one of each way to pay and each share that the policy gives back ({shares})."
            " An administrator refunds a part to somebody who stays."
        )

        def told() -> str:
            return f"{sum(member.was_told_cancelled for member in going)} cancelled"

        async with sale.programme.scene(title, told):
            await asyncio.gather(*(member.cancel() for member in going))
            stays = next(member for member in self._booked() if member.visit.way is Way.CARD)
            if (await sale.studio.refund(stays.booking["id"], GIVEN_BACK)).kind == "202":
                stays.given_back = GIVEN_BACK
        gone = [member for member in going if member.was_told_cancelled]
        sale.counts["cancelled late, for a part or nothing"] = sum(
            member.given_up_for < WHOLE for member in gone
        )

    async def _the_schedule_changes(self) -> None:
        sale, studio = self.sale, self.sale.studio
        change: dict[str, int] = {}
        title = (
            f"The administrator moves the evening classes from {EVENING} to {LATER}, over live bookings: who is booked stays,"
            " and nobody else can come."
        )

        def told() -> str:
            return ", ".join(f"{count} {what}" for what, count in change.items())

        async with sale.programme.scene(title, told):
            change |= await studio.lay_out(LATER)
            left = {member.slot_id for member in self._booked()} - (await studio.shown()).keys()
            stranger = self._comes(Visit(len(sale.members), Way.ON_ARRIVAL))
            refused = [(await stranger.hold(slot_id)).kind for slot_id in sorted(left)]
        sale.counts["classes that their schedule has left"] = change["legacy"]
        sale.counts["holds refused in classes that their schedule has left"] = refused.count(
            "409 slot-closed"
        )

    def _booked(self) -> list[Member]:
        return [member for member in self.sale.members if member.is_booked]

    def _so_far(self) -> str:
        ways = Counter(member.visit.way.replace("_", " ") for member in self._booked())
        return ", ".join(f"{count} booked by {way}" for way, count in ways.most_common()) or "nobody yet"


def _start(member: Member) -> datetime:
    return member.studio.starts[member.slot_id]
