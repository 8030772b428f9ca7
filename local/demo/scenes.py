"""The sale, scene by scene."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from aiohttp import ClientSession

from local.demo.buyers import Buyer, Crowd, End
from local.demo.hall_operator import Operator
from local.demo.script import Temper
from local.demo.weather import Weather

INVOKE = "/2015-03-31/functions/{}/invocations"
PROGRESS_EVERY_S = 2.0
WAVE_S = 1.5
WAVES = 8
SETTLE_PATIENCE_S = 60.0
LOOKS_AGAIN_S = 0.3


@dataclass
class Programme:
    """Says what happens, when it happens."""

    began: float = field(default_factory=time.monotonic)
    scenes: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def say(self, text: str) -> None:
        """One line with the seconds since the beginning."""
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    @asynccontextmanager
    async def scene(self, title: str, told: Callable[[], str]) -> AsyncGenerator[None]:
        """Tell how far a scene is every two seconds, and how it ended."""
        began = time.monotonic()
        self.say(title)

        async def tell() -> None:
            while True:
                await asyncio.sleep(PROGRESS_EVERY_S)
                self.say(f"  ... {told()}")

        teller = asyncio.create_task(tell())
        try:
            yield
        finally:
            teller.cancel()
        self.say(f"  {told()}")
        self.scenes.append({"title": title, "seconds": round(time.monotonic() - began, 2), "told": told()})


@dataclass
class Sale:
    """Everybody and everything that takes part; `counts` are what the summary tells."""

    http: ClientSession
    base_url: str
    buyers: Sequence[Buyer]
    crowd: Crowd
    operator: Operator
    weather: Weather
    programme: Programme
    random: Random
    counts: Counter[str] = field(default_factory=Counter[str])
    ended_by_force: set[str] = field(default_factory=set[str])
    ran_out: set[str] = field(default_factory=set[str])

    async def run(self) -> None:
        """All scenes; afterwards nothing is on its way any more."""
        await self.weather.begin()
        changing = asyncio.create_task(self.weather.keep_changing())
        try:
            await self._doors_open()
            await self._seats_come_back()
            await self._stripe_falls_silent()
            await self._late_while_seats_are_free()
            await self._late_when_seats_are_gone()
            await self._last_call()
            self.counts["Stripe calls cut off after their work"] = await self.weather.cut_off()
        finally:
            changing.cancel()
        await asyncio.gather(changing, return_exceptions=True)
        if not changing.cancelled() and (failure := changing.exception()):
            raise failure
        await self._everything_arrives()

    async def count(self) -> None:
        """Add what is sold, and how often events were brought, to `counts`."""
        hall = await self.operator.hall()
        events = await self.weather.deliveries()
        self.counts |= {
            "seats": hall.seats,
            "seats sold": hall.seats_sold,
            "chairs sold": hall.chair_sold,
            "events": len(events),
            "copies": sum(event["attempts"] for event in events),
        }

    async def _doors_open(self) -> None:
        title = (
            f"Doors open: {len(self.buyers)} buyers, {(await self.operator.hall()).seats} seats, one chair."
        )
        async with self.programme.scene(title, self._so_far):
            await asyncio.gather(*(buyer.come(after_s=buyer.script.arrives_s) for buyer in self.buyers))

    async def _seats_come_back(self) -> None:
        """Half of those who had no luck come again, while the cleanup runs twice at once."""
        gone = self._who(End.WALKED_AWAY, End.LEFT_PAGE_OPEN, End.NEVER_PAID)
        waiting = self._waiting_list()
        title = (
            f"{len(gone)} never paid. The operator moves their holds' expires_at to now (SQL; nobody waits a quarter"
            f" of an hour here); reservation-cleanup is invoked twice at once; {len(waiting) // 2} come again."
        )
        async with self.programme.scene(title, self._so_far):
            await self._run_out(gone)
            await asyncio.gather(self._wave(waiting[: len(waiting) // 2]), self._clean_up(), self._clean_up())
            await self._sell_the_rest()

    async def _stripe_falls_silent(self) -> None:
        late = self._of(Temper.AT_THE_DEADLINE)
        title = (
            f"Stripe delivers no event. {len(late)} pay; then their holds run out (expires_at moved) and"
            " reservation-cleanup has to ask Stripe."
        )
        async with self.programme.scene(title, lambda: f"{_count(late, End.BOOKED)} of {len(late)} booked"):
            await self.weather.turn(deliver=False)
            await asyncio.gather(*(buyer.try_cards() for buyer in late))
            await self._run_out(late)
            await asyncio.gather(self._clean_up(), self._clean_up())
            await asyncio.gather(*(buyer.wait_for_booking() for buyer in late))
            self.counts["holds paid at the deadline, confirmed by the cleanup"] = _count(late, End.BOOKED)
            await self.weather.turn(deliver=True)

    async def _late_while_seats_are_free(self) -> None:
        late = self._of(Temper.LATE_SEATS_FREE)
        title = (
            f"The operator ends {len(late)} holds by force (SQL: release_holds, which no function does while a"
            " payment is open). Their buyers pay in the tab that is still open, the seats still free."
        )
        async with self.programme.scene(
            title, lambda: f"{_count(late, End.BOOKED)} of {len(late)} seated again"
        ):
            await self._end_by_force(late)
            await asyncio.gather(*(buyer.pay() for buyer in late))
            self.counts["late payments seated"] = _count(late, End.BOOKED)

    async def _late_when_seats_are_gone(self) -> None:
        late, regret = self._of(Temper.LATE_SEATS_GONE), self._of(Temper.LATE_CANCELLED)
        title = (
            f"The operator ends {len(late) + len(regret)} more holds by force; others take the seats; then they pay"
            " (one has cancelled before)."
        )

        def told() -> str:
            return f"{sum(buyer.charged for buyer in [*late, *regret])} charged too late; {self._so_far()}"

        async with self.programme.scene(title, told):
            await self._end_by_force([*late, *regret])
            await self._sell_the_rest()
            await asyncio.gather(*(buyer.cancel() for buyer in regret))
            await asyncio.gather(*(buyer.try_cards() for buyer in [*late, *regret]))

    async def _last_call(self) -> None:
        async with self.programme.scene("Last call: what is left goes to whoever comes again.", self._so_far):
            for _ in range(WAVES):
                await self._run_out(self._who(End.WALKED_AWAY, End.LEFT_PAGE_OPEN, End.NEVER_PAID))
                await self._clean_up()
                await self._sell_the_rest()
                hall = await self.operator.hall()
                if not hall.seats_held and not hall.chair_held:
                    return

    async def _everything_arrives(self) -> None:
        """Until every event is delivered and every effect is out."""
        title = "The rest of the events arrive, the refunds and notifications go out."
        pending: list[dict[str, Any]] = []
        left = 0

        def told() -> str:
            return f"{len(pending)} events on their way, {left} effects to deliver"

        async with self.programme.scene(title, told):
            give_up_at = time.monotonic() + SETTLE_PATIENCE_S
            while time.monotonic() < give_up_at:
                pending = [event for event in await self.weather.deliveries() if event["pending"]]
                if not pending:
                    await self._invoke("deliver-outbox")
                    left = await self.operator.undelivered_effects()
                    pending = [event for event in await self.weather.deliveries() if event["pending"]]
                    if not left and not pending:
                        break
                await asyncio.sleep(LOOKS_AGAIN_S)
        await self._clean_up()
        await self.weather.clear_up()

    async def _wave(self, buyers: Iterable[Buyer]) -> None:
        await asyncio.gather(*(buyer.come(after_s=self.random.uniform(0, WAVE_S)) for buyer in buyers))

    async def _sell_the_rest(self) -> None:
        """Let those come again whom what is left would be enough for, until it is all taken."""
        for _ in range(WAVES):
            hall = await self.operator.hall()
            seats = hall.seats - hall.seats_held - hall.seats_sold
            chair = 1 - hall.chair_held - hall.chair_sold
            fitting = [buyer for buyer in self._waiting_list() if _fits(buyer, seats, chair)]
            if not fitting:
                return
            await self._wave(fitting[: 10 + 4 * seats])

    async def _run_out(self, buyers: Sequence[Buyer]) -> None:
        holds = [buyer.reservation_id for buyer in buyers]
        self.ran_out.update(holds)
        self.counts["holds that ran out"] += await self.operator.let_time_pass(holds)
        for buyer in buyers:
            if buyer.end is not End.HOLDS_PAGE_OPEN:
                buyer.end = End.TOO_LATE

    async def _end_by_force(self, buyers: Sequence[Buyer]) -> None:
        self.ended_by_force.update(buyer.reservation_id for buyer in buyers)
        self.counts["holds ended by force"] += await self.operator.end_by_force(
            [buyer.reservation_id for buyer in buyers]
        )

    async def _clean_up(self) -> None:
        answer = await self._invoke("reservation-cleanup")
        for name in ("released", "confirmed", "kept", "failed"):
            self.counts[f"cleanup {name}"] += answer[name]

    async def _invoke(self, function: str) -> dict[str, Any]:
        """Invoke through Lambda's API, as the schedule does."""
        async with self.http.post(f"{self.base_url}{INVOKE.format(function)}", json={}) as response:
            answer = await response.json()
        if response.status != 200 or "X-Amz-Function-Error" in response.headers:
            raise RuntimeError(f"{function} failed: {answer}")
        return answer

    def _who(self, *ends: End) -> list[Buyer]:
        return [buyer for buyer in self.buyers if buyer.end in ends]

    def _of(self, temper: Temper) -> list[Buyer]:
        return [buyer for buyer in self._who(End.HOLDS_PAGE_OPEN) if buyer.script.temper is temper]

    def _waiting_list(self) -> list[Buyer]:
        waiting = self._who(End.SOLD_OUT)
        self.random.shuffle(waiting)
        return waiting

    def _so_far(self) -> str:
        ends = Counter(buyer.end for buyer in self.buyers if buyer.end is not End.QUEUES)
        return ", ".join(f"{count} {end}" for end, count in ends.most_common()) or "nothing yet"


def _fits(buyer: Buyer, seats: int, chair: int) -> bool:
    wish = buyer.script.wish
    return (wish == "chair" or buyer.script.party <= seats) and (wish == "concert" or chair > 0)


def _count(buyers: Iterable[Buyer], end: End) -> int:
    return sum(buyer.end is end for buyer in buyers)
