"""The sale, scene by scene."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from local.breakage.cuts import CutPlan
from local.breakage.kills import Kills
from local.breakage.proxy import DatabaseProxy
from local.demo.mishaps import Mishaps
from local.demo.studio_scenes import StudioStory
from local.sale.buyers import Buyer, End
from local.sale.sale import Sale
from local.sale.script import FIRST_S, Temper

WAVE_S = 1.5
WAVES = 8
FIRST_PATIENCE_S = 60.0
LOOKS_AGAIN_S = 0.05
ENVIRONMENTS_KILLED = 12
KILL_PAUSE_S = (0.1, 0.4)
BEFORE_THE_END_OF_THE_WORLD_S = 0.8  # the second wave has begun to hold and to pay


@dataclass
class Story:
    """The demo's scenes on one sale."""

    sale: Sale
    kills: Kills
    cuts: CutPlan
    network: DatabaseProxy

    async def play(self) -> None:
        """All scenes; afterwards nothing is on its way any more."""
        weather = self.sale.weather
        await weather.begin()
        changing = asyncio.create_task(weather.keep_changing())
        try:
            await self._doors_open()
            await self._seats_come_back()
            await self._stripe_falls_silent()
            await self._late_while_seats_are_free()
            await self._late_when_seats_are_gone()
            await self._last_call()
            self.sale.counts["Stripe calls cut off after their work"] = await weather.cut_off()
        finally:
            changing.cancel()
        await asyncio.gather(changing, return_exceptions=True)
        if not changing.cancelled() and (failure := changing.exception()):
            raise failure
        await StudioStory(self.sale, self.kills, self.cuts).play()
        await Mishaps(self.sale, self.network).play()
        await self.sale.everything_arrives()
        await weather.clear_up()

    async def _doors_open(self) -> None:
        sale = self.sale
        title = (
            f"Doors open: {len(sale.buyers)} buyers, {(await sale.operator.hall()).seats} seats, one chair. Meanwhile"
            f" kill -9 of {ENVIRONMENTS_KILLED} execution environments, of PostgreSQL and of Stripe; connections to the"
            " database are cut between any two statements. The operator ends the leases of the dead (SQL: up to a minute"
            " otherwise)."
        )
        first = [buyer for buyer in sale.buyers if buyer.script.arrives_s <= FIRST_S]
        async with sale.programme.scene(title, self._so_far), sale.leases_of_the_dead_end():
            self.cuts.enabled = True
            async with asyncio.TaskGroup() as all_at_once:
                for buyer in first:
                    all_at_once.create_task(buyer.come(after_s=buyer.script.arrives_s))
                await self._are_served(first)
                for buyer in sale.buyers:
                    if buyer not in first:
                        all_at_once.create_task(buyer.come(after_s=buyer.script.arrives_s))
                all_at_once.create_task(self._break_things())
            self.cuts.enabled = False

    async def _are_served(self, buyers: Sequence[Buyer]) -> None:
        """Those whom the story needs have their holds; on a busy machine that takes its time."""
        give_up_at = time.monotonic() + FIRST_PATIENCE_S
        while not all(buyer.reservation for buyer in buyers) and time.monotonic() < give_up_at:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(LOOKS_AGAIN_S)

    async def _break_things(self) -> None:
        for number in range(ENVIRONMENTS_KILLED):
            await asyncio.sleep(self.kills.random.uniform(*KILL_PAUSE_S))
            await self.kills.environment()
            if number == ENVIRONMENTS_KILLED // 3:
                self.kills.service("postgres")
            if number == ENVIRONMENTS_KILLED * 2 // 3:
                self.kills.service("stripe_emulator")

    async def _seats_come_back(self) -> None:
        """Half of those who had no luck come again, while the cleanup runs twice at once; and then all of it dies."""
        sale = self.sale
        gone = self._who(End.WALKED_AWAY, End.LEFT_PAGE_OPEN, End.NEVER_PAID)
        waiting = self._waiting_list()
        title = (
            f"{len(gone)} never paid. The operator moves their holds' expires_at to now (SQL; nobody waits a quarter"
            f" of an hour here); reservation-cleanup is invoked twice at once; {len(waiting) // 2} come again. Amidst"
            " of it the whole cloud is killed -9, and started again."
        )
        async with sale.programme.scene(title, self._so_far):
            await self._run_out(gone)
            await asyncio.gather(
                self._wave(waiting[: len(waiting) // 2]),
                sale.clean_up(),
                sale.clean_up(),
                self._end_and_begin(),
            )
            await self._sell_the_rest()

    async def _end_and_begin(self) -> None:
        await asyncio.sleep(BEFORE_THE_END_OF_THE_WORLD_S)
        await self.kills.everything()

    async def _stripe_falls_silent(self) -> None:
        sale = self.sale
        late = self._of(Temper.AT_THE_DEADLINE)
        title = (
            f"Stripe delivers no event. {len(late)} pay; then their holds run out (expires_at moved) and"
            " reservation-cleanup has to ask Stripe."
        )
        async with sale.programme.scene(title, lambda: f"{_count(late, End.BOOKED)} of {len(late)} booked"):
            await sale.weather.turn(deliver=False)
            await asyncio.gather(*(buyer.try_cards() for buyer in late))
            await self._run_out(late)
            for _ in range(WAVES):  # where Stripe's answer is lost, the hold is kept and asked about again
                await sale.operator.let_leases_end()
                await asyncio.gather(sale.clean_up(), sale.clean_up())
                if not (await sale.operator.active(buyer.reservation_id for buyer in late)):
                    break
            await asyncio.gather(*(buyer.wait_for_booking() for buyer in late))
            sale.counts["holds paid at the deadline, confirmed by the cleanup"] = _count(late, End.BOOKED)
            await sale.weather.turn(deliver=True)

    async def _late_while_seats_are_free(self) -> None:
        late = self._of(Temper.LATE_SEATS_FREE)
        title = (
            f"The operator ends {len(late)} holds by force (SQL: release_holds, which no function does while a"
            " payment is open). Their buyers pay in the tab that is still open, the seats still free."
        )
        async with self.sale.programme.scene(
            title, lambda: f"{_count(late, End.BOOKED)} of {len(late)} seated again"
        ):
            await self.sale.end_by_force(late)
            await asyncio.gather(*(buyer.pay() for buyer in late))
            self.sale.counts["late payments seated"] = _count(late, End.BOOKED)

    async def _late_when_seats_are_gone(self) -> None:
        late, regret = self._of(Temper.LATE_SEATS_GONE), self._of(Temper.LATE_CANCELLED)
        title = (
            f"The operator ends {len(late) + len(regret)} more holds by force; others take the seats; then they pay"
            " (one has cancelled before)."
        )

        def told() -> str:
            return f"{sum(buyer.charged for buyer in [*late, *regret])} charged too late; {self._so_far()}"

        async with self.sale.programme.scene(title, told):
            await self.sale.end_by_force([*late, *regret])
            await self._sell_the_rest()
            await asyncio.gather(*(buyer.cancel() for buyer in regret))
            await asyncio.gather(*(buyer.try_cards() for buyer in [*late, *regret]))

    async def _last_call(self) -> None:
        title = "Last call: what is left goes to whoever comes again. The operator ends the last leases of the dead."
        async with self.sale.programme.scene(title, self._so_far):
            for _ in range(WAVES):
                await self._run_out(
                    self._who(End.WALKED_AWAY, End.LEFT_PAGE_OPEN, End.NEVER_PAID, End.NOT_SERVED)
                )
                await self.sale.operator.let_leases_end()
                await self.sale.clean_up()
                await self._sell_the_rest()
                hall = await self.sale.operator.hall()
                if not hall.seats_held and not hall.chairs_held:
                    return

    async def _wave(self, buyers: Iterable[Buyer]) -> None:
        chance = self.sale.random
        await asyncio.gather(*(buyer.come(after_s=chance.uniform(0, WAVE_S)) for buyer in buyers))

    async def _sell_the_rest(self) -> None:
        """Let those come again whom what is left would be enough for, until it is all taken."""
        for _ in range(WAVES):
            hall = await self.sale.operator.hall()
            fitting = [
                buyer for buyer in self._waiting_list() if _fits(buyer, hall.seats_free, hall.chairs_free)
            ]
            if not fitting:
                return
            await self._wave(fitting[: 10 + 4 * hall.seats_free])

    async def _run_out(self, buyers: Sequence[Buyer]) -> None:
        await self.sale.run_out([buyer for buyer in buyers if buyer.reservation])

    def _who(self, *ends: End) -> list[Buyer]:
        return [buyer for buyer in self.sale.buyers if buyer.end in ends]

    def _of(self, temper: Temper) -> list[Buyer]:
        return [buyer for buyer in self._who(End.HOLDS_PAGE_OPEN) if buyer.script.temper is temper]

    def _waiting_list(self) -> list[Buyer]:
        waiting = self._who(End.SOLD_OUT)
        self.sale.random.shuffle(waiting)
        return waiting

    def _so_far(self) -> str:
        ends = Counter(buyer.end for buyer in self.sale.buyers if buyer.end is not End.QUEUES)
        return ", ".join(f"{count} {end}" for end, count in ends.most_common()) or "nothing yet"


def _fits(buyer: Buyer, seats: int, chairs: int) -> bool:
    wish = buyer.script.wish
    return (wish == "chair" or buyer.script.party <= seats) and (wish == "concert" or chairs > 0)


def _count(buyers: Iterable[Buyer], end: End) -> int:
    return sum(buyer.end is end for buyer in buyers)
