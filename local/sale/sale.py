"""A sale: everybody who takes part in it, and what is done to it from outside."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from aiohttp import ClientError, ClientSession

from local.sale.buyers import Buyer, Crowd, End
from local.sale.hall_operator import Operator
from local.sale.members import Member
from local.sale.programme import Programme
from local.sale.studio import Studio
from local.sale.weather import Weather

INVOKE = "/2015-03-31/functions/{}/invocations"
JOBS = ("reservation-cleanup", "deliver-outbox", "reconcile-payments")
INVOKE_PATIENCE_S = 60.0
SETTLE_PATIENCE_S = 90.0
LOOKS_AGAIN_S = 0.3
LEASES_END_EVERY_S = 6.0  # whoever lives is done with Stripe by then


@dataclass
class Sale:
    """Everybody and everything that takes part; `counts` are what the summary tells."""

    http: ClientSession
    base_url: str
    buyers: Sequence[Buyer]
    crowd: Crowd
    studio: Studio
    operator: Operator
    weather: Weather
    programme: Programme
    random: Random
    members: list[Member] = field(default_factory=list[Member])
    counts: Counter[str] = field(default_factory=Counter[str])
    ended_by_force: set[str] = field(default_factory=set[str])

    async def count(self) -> None:
        """Add what is sold, and how often events were brought, to `counts`."""
        hall = await self.operator.hall()
        events = await self.weather.deliveries()
        self.counts |= {
            "seats": hall.seats,
            "seats sold": hall.seats_sold,
            "chairs": hall.chairs,
            "chairs sold": hall.chairs_sold,
            "events": len(events),
            "copies": sum(event["attempts"] for event in events),
        }

    async def run_out(self, buyers: Sequence[Buyer]) -> None:
        """The time of their holds is over."""
        holds = [buyer.reservation_id for buyer in buyers]
        self.counts["holds that ran out"] += await self.operator.let_time_pass(holds)
        for buyer in buyers:
            if buyer.end is not End.HOLDS_PAGE_OPEN:
                buyer.end = End.TOO_LATE

    async def end_by_force(self, buyers: Sequence[Buyer]) -> None:
        """Their seats are given back while their payments are open."""
        holds = [buyer.reservation_id for buyer in buyers]
        self.ended_by_force.update(holds)
        self.counts["holds ended by force"] += await self.operator.end_by_force(holds)

    @asynccontextmanager
    async def leases_of_the_dead_end(self) -> AsyncGenerator[None]:
        """Every few seconds meanwhile: a buyer who waits for one would wait for most of a minute."""

        async def end_them() -> None:
            while True:
                await asyncio.sleep(LEASES_END_EVERY_S)
                await self.operator.let_leases_end()

        ending = asyncio.create_task(end_them())
        try:
            yield
        finally:
            ending.cancel()

    async def clean_up(self) -> None:
        """Run reservation-cleanup to its end."""
        answer = await self.invoke("reservation-cleanup")
        for name in ("released", "confirmed", "kept", "failed"):
            self.counts[f"cleanup {name}"] += answer[name]

    async def everything_arrives(self, *, ends_holds: bool = False) -> None:
        """Until every event is delivered and every effect is out, as time alone would have it.

        `ends_holds`: the time of every hold is over as well.
        """
        title = "The rest of the events arrive, the refunds and notifications go out."
        pending: list[dict[str, Any]] = []
        left = active = 0

        def told() -> str:
            return f"{len(pending)} events on their way, {left} effects to deliver, {active} holds to end"

        async with self.programme.scene(title, told):
            give_up_at = time.monotonic() + SETTLE_PATIENCE_S
            while time.monotonic() < give_up_at:
                await self.operator.let_leases_end()
                active = await self.operator.let_all_time_pass() if ends_holds else 0
                for job in JOBS:
                    await self.invoke(job)
                left = await self.operator.undelivered_effects()
                pending = [event for event in await self.weather.deliveries() if event["pending"]]
                if not left and not pending and not active:
                    break
                await asyncio.sleep(LOOKS_AGAIN_S)

    async def invoke(self, function: str) -> dict[str, Any]:
        """Invoke through Lambda's API, as the schedule does; again where it died on the way."""
        give_up_at = time.monotonic() + INVOKE_PATIENCE_S
        while True:
            answer, failed = await self.try_to_invoke(function)
            if not failed:
                return answer
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"{function} failed: {answer}")
            self.counts["invocations that failed"] += 1
            await asyncio.sleep(LOOKS_AGAIN_S)

    async def try_to_invoke(self, function: str) -> tuple[dict[str, Any], bool]:
        """Once: the answer, and whether the function, or the way to it, failed."""
        try:
            async with self.http.post(f"{self.base_url}{INVOKE.format(function)}", json={}) as response:
                answer = await response.json()
        except (ClientError, TimeoutError) as failure:
            return {"connection": repr(failure)}, True
        return answer, response.status != 200 or "X-Amz-Function-Error" in response.headers
