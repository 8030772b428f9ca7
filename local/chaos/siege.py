"""The siege: buyers come without end, and everything below them is broken at random moments, all drawn from one seed."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from random import Random

from local.breakage.kills import Traps, kill_points
from local.chaos.class_goers import ClassGoers
from local.chaos.storm import Storm
from local.sale.buyers import Buyer, Crowd, End
from local.sale.sale import JOBS
from local.sale.script import Temper, write_script
from local.sale.stage import Stage

# From so many seconds on every kill point and every boundary of every act has its turn. What has not had it when time is
# over has it in overtime, which lasts as long again, or this.
WHOLE_S = 90.0
SHORTEST_OVERTIME_S = 60.0
BUYERS_AT_ONCE = 16
MEMBERS_AT_ONCE = 6
HASTY = 0.15  # of the buyers ask once, and leave where they get no answer
TEMPERS = {
    Temper.PAYS: 54,
    Temper.NEVER_PAYS: 4,
    Temper.WALKS_AWAY: 8,
    Temper.LEAVES_PAGE_OPEN: 10,
    Temper.CANCELS: 6,
    Temper.CHANGES_MIND: 6,
    Temper.AT_THE_DEADLINE: 8,
    Temper.LATE_SEATS_FREE: 6,
    Temper.LATE_CANCELLED: 4,
}
PAID_TWICE = 0.5
ONE_MORE = 0.5
SEATS_LEFT = 4  # with fewer than this the hall is made larger
MORE_SEATS = 16
SOLD_OUT_PAUSE_S = 0.3
# So many at least, in overtime where need be.
ENVIRONMENTS_A_MINUTE = 12
CUTS_A_MINUTE = 60
# How often, in seconds.
WATCH_S = (0.5, 0.5)
OPERATOR_S = (0.5, 2.0)
JOBS_S = (0.5, 2.0)
FORGOTTEN_S = (3.0, 9.0)
SCHEDULE_S = (2.0, 6.0)
ENVIRONMENTS_S = (1.0, 3.0)
KILL_POINTS_S = (0.5, 2.0)
POSTGRES_EVERY_S = 16.0
STRIPE_EVERY_S = 12.0
CLOUD_EVERY_S = 40.0
LAST_KILL = 0.85  # of the time: what is killed later would be back only when all is over
TELLS_EVERY_S = 5.0


@dataclass
class Siege:
    """Runs for so many seconds."""

    stage: Stage
    traps: Traps
    storm: Storm
    seed: str
    seconds: float
    buyers: list[Buyer] = field(default_factory=list[Buyer])
    failures: Counter[str] = field(default_factory=Counter[str])

    def __post_init__(self) -> None:
        self.stage.sale.buyers = self.buyers
        self._over = asyncio.Event()
        self._numbers = count()
        self._hasty = _hasty(self.stage.sale.crowd)

    async def run(self) -> None:
        """Until time is over, every buyer has left and whatever was killed is up again."""
        title = (
            f"{BUYERS_AT_ONCE} buyers at a time, and {MEMBERS_AT_ONCE} who come for a class, for {self.seconds:.0f} s: they"
            " hold, pay, book with credits or on arrival, move, cancel, walk away. kill -9 of everything at random moments,"
            " connections cut at every statement, Stripe in a storm."
        )
        sale, kills = self.stage.sale, self.stage.kills
        goers = ClassGoers(sale, self.seed)
        async with (
            sale.programme.scene(title, self._so_far, every_s=TELLS_EVERY_S),
            asyncio.TaskGroup() as all_at_once,
        ):
            begin = all_at_once.create_task
            self.stage.cuts.enabled = True
            blowing = begin(self.storm.blow())
            for _ in range(BUYERS_AT_ONCE):
                begin(self._buyers_come())
            for _ in range(MEMBERS_AT_ONCE):
                begin(self._members_come(goers))
            begin(self._again_and_again("schedule", SCHEDULE_S, goers.change_schedule))
            begin(self._again_and_again("watch", WATCH_S, self._see_that_it_lives))
            begin(self._again_and_again("operator", OPERATOR_S, self._operate))
            begin(self._again_and_again("forgotten keys", FORGOTTEN_S, self._let_stripe_forget))
            for job in JOBS:
                begin(self._again_and_again(job, JOBS_S, partial(self._run, job)))
            begin(self._again_and_again("environments", ENVIRONMENTS_S, lambda _: kills.environment()))
            begin(self._again_and_again("kill points", KILL_POINTS_S, self._set_traps))
            begin(self._at_random_moments("postgres", POSTGRES_EVERY_S, self._kill_service))
            begin(self._at_random_moments("stripe_emulator", STRIPE_EVERY_S, self._kill_service))
            begin(self._at_random_moments("whole cloud", CLOUD_EVERY_S, lambda _: kills.everything()))
            await asyncio.sleep(self.seconds)
            for _ in range(round(max(self.seconds, SHORTEST_OVERTIME_S))):
                if not self.lacks():
                    break
                await asyncio.sleep(1)
            sale.programme.say("Time is over: nothing is broken any more, the last buyers leave.")
            self._over.set()
            self.stage.cuts.enabled = False
            self.traps.remove()
            blowing.cancel()
        self._count_sprung_traps()
        await self.storm.die_down()

    def lacks(self) -> list[str]:
        """What has to be killed or cut and was not yet: of a whole siege at every kill point and boundary of an act."""
        kills, cuts = self.stage.kills, self.stage.cuts
        counts, minutes = kills.counts, self.seconds / 60
        lacking = [
            f"kill of {what}" for what in ("postgres", "stripe_emulator", "whole cloud") if not counts[what]
        ]
        if kills.environments < minutes * ENVIRONMENTS_A_MINUTE:
            lacking.append(
                f"more than {kills.environments} of {minutes * ENVIRONMENTS_A_MINUTE:.0f} environments"
            )
        if cuts.cuts.total() < minutes * CUTS_A_MINUTE:
            lacking.append(f"more than {cuts.cuts.total()} of {minutes * CUTS_A_MINUTE:.0f} cuts")
        if self.seconds >= WHOLE_S:
            lacking += [f"death at {point}" for point in kill_points() if not counts[f"at {point}"]]
            lacking += [f"cut at every boundary of {act}" for act in cuts.uncut()]
        return lacking

    async def come_to_rest(self) -> None:
        """What time alone would do; afterwards nothing is on its way."""
        await self.stage.sale.everything_arrives(ends_holds=True)

    async def _still_on(self, seconds: float) -> bool:
        """Waits so long; False as soon as it is over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)
        return not self._over.is_set()

    async def _again_and_again(
        self, name: str, pause_s: tuple[float, float], act: Callable[[Random], Awaitable[None]]
    ) -> None:
        chance = Random(f"{self.seed}:{name}")
        while await self._still_on(chance.uniform(*pause_s)):
            await act(chance)

    async def _at_random_moments(
        self, name: str, every_s: float, act: Callable[[str], Awaitable[None]]
    ) -> None:
        chance = Random(f"{self.seed}:{name}")
        times = max(1, round(self.seconds / every_s))
        slice_s = self.seconds * LAST_KILL / times
        passed = 0.0
        for number in range(times):  # one in each slice of the time
            moment = slice_s * (number + chance.uniform(0.2, 1))
            if not await self._still_on(moment - passed):
                return
            passed = moment
            await act(name)

    # The buyers.

    async def _buyers_come(self) -> None:
        while not self._over.is_set():
            number = next(self._numbers)
            crowd = (
                self._hasty
                if Random(f"{self.seed}:{number}:hasty").random() < HASTY
                else self.stage.sale.crowd
            )
            buyer = Buyer(write_script(self.seed, number, tempers=TEMPERS), crowd)
            self.buyers.append(buyer)
            await buyer.come()
            if buyer.end is End.HOLDS_PAGE_OPEN:
                await self._be_late(buyer)
            if buyer.end is End.SOLD_OUT:
                await self._still_on(SOLD_OUT_PAUSE_S)

    async def _members_come(self, goers: ClassGoers) -> None:
        while not self._over.is_set():
            await goers.come()

    async def _be_late(self, buyer: Buyer) -> None:
        sale = self.stage.sale
        if buyer.script.temper is Temper.AT_THE_DEADLINE:
            await asyncio.gather(buyer.try_cards(), sale.run_out([buyer]))
        else:
            await sale.end_by_force([buyer])
            if buyer.script.temper is Temper.LATE_CANCELLED:
                await buyer.cancel()
            await buyer.try_cards()
        if buyer.charged:
            await buyer.wait_for_booking()

    # What is done to them.

    async def _see_that_it_lives(self, _: Random) -> None:
        self.stage.cloud.check_that_it_lives()

    async def _operate(self, chance: Random) -> None:
        sale = self.stage.sale
        gone = [
            buyer
            for buyer in self.buyers
            if buyer.reservation
            and buyer.end in (End.WALKED_AWAY, End.LEFT_PAGE_OPEN, End.NEVER_PAID, End.NOT_SERVED)
        ]
        await sale.run_out(chance.sample(gone, len(gone) // 2))
        await sale.operator.let_reconciliation_be_due()
        hall = await sale.operator.hall()
        if 0 <= hall.seats_free < SEATS_LEFT:  # room for no more than were sold rightly
            await sale.operator.open_hall(hall.seats + MORE_SEATS)
        if not hall.chairs_free:
            await sale.operator.add_chair()

    async def _let_stripe_forget(self, chance: Random) -> None:
        """A second intent for an open payment, as if Stripe had forgotten its key; every other one is paid as well."""
        browser = self.stage.sale.crowd.browser
        intents = [
            buyer.payment["payment_intent_id"] for buyer in self.buyers if "client_secret" in buyer.payment
        ]
        if not intents:
            return
        status, first = await browser.ask("GET", f"/v1/payment_intents/{chance.choice(intents)}", owner=True)
        if status != 200:
            return
        form = {"amount": str(first["amount"]), "currency": first["currency"]}
        form |= {f"metadata[{name}]": value for name, value in first["metadata"].items()}
        status, second = await browser.ask("POST", "/v1/payment_intents", form=form, owner=True)
        if status == 200:
            self.stage.sale.counts["second intents"] += 1
            if chance.random() < PAID_TWICE:
                path = f"/v1/payment_intents/{second['id']}/confirm"
                await browser.ask("POST", path, form={"payment_method": "pm_card_visa"}, owner=True)

    async def _run(self, job: str, chance: Random) -> None:
        ended = await asyncio.gather(
            *(self.stage.sale.try_to_invoke(job) for _ in range(chance.randint(1, 2)))
        )
        self.failures[job] += sum(failed for _, failed in ended)

    async def _set_traps(self, chance: Random) -> None:
        """At every kill point where nobody has died yet, and every other time at one more.

        That one is soon come past, which takes all traps away: what is rare would never have its turn.
        """
        points = kill_points()
        self._count_sprung_traps()
        untouched = [point for point in points if not self.stage.kills.counts[f"at {point}"]]
        more = chance.random() < ONE_MORE or not untouched
        self.traps.set([*untouched, *([chance.choice(points)] if more else [])])

    def _count_sprung_traps(self) -> None:
        self.stage.kills.counts.update(f"at {point}" for point in self.traps.sprung())

    async def _kill_service(self, name: str) -> None:
        before = self.stage.kills.counts[name]
        while self.stage.kills.counts[name] == before:  # unless it is dead already
            self.stage.kills.service(name)
            if not await self._still_on(0.2):
                return

    def _so_far(self) -> str:
        kills, cuts = self.stage.kills, self.stage.cuts
        ends = Counter(buyer.end for buyer in self.buyers)
        told = ", ".join(f"{ends[end]} {end}" for end in (End.BOOKED, End.CANCELLED, End.SOLD_OUT))
        members = len(self.stage.sale.members)
        return f"{len(self.buyers)} buyers ({told}), {members} members, {kills.counts.total()} kills, {cuts.cuts.total()} cuts"


def _hasty(crowd: Crowd) -> Crowd:
    """The same, to those who do not ask twice."""
    return replace(crowd, shop=replace(crowd.shop, patience_s=0.0))
