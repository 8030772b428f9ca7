"""What goes wrong at Stripe meanwhile: gusts of every kind of fault, through the emulator's fault script."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from local.sale.weather import ENDLESS, Weather

FAULTS: Mapping[str, Mapping[str, object]] = {
    "timeout before": {"timeout_before": True},
    "timeout after": {"timeout_after": True},
    "429": {"status": 429},
    "500": {"status": 500},
}
GUST_S = (0.4, 2.0)
STRENGTHS = (0.0, 0.02, 0.02, 0.05, 0.25)  # of the calls, for each kind of fault
MOST_COPIES = 5
SHUFFLES_MS = (0, 200, 1500)
DROPPED = 0.05  # of the events are never brought
SILENT = 0.1  # of the gusts hold all events back


@dataclass
class Storm:
    """`struck` counts the calls that each kind of fault has met; the last few before a kill may be missing."""

    weather: Weather
    random: Random
    struck: Counter[str] = field(default_factory=Counter[str])

    async def blow(self) -> None:
        """Until cancelled."""
        while True:
            await self._change(self._gust())
            await asyncio.sleep(self.random.uniform(*GUST_S))

    async def die_down(self) -> None:
        """Nothing goes wrong any more."""
        await self._change({})

    def _gust(self) -> dict[str, Any]:
        chance = self.random
        strength = chance.choice(STRENGTHS)
        return {
            "deliver": chance.random() > SILENT,
            "duplicate": chance.randint(1, MOST_COPIES),
            "shuffle_ms": chance.choice(SHUFFLES_MS),
            "drop": DROPPED,
            "responses": [
                {"times": ENDLESS, "probability": strength, **fault} for fault in FAULTS.values() if strength
            ],
        }

    async def _change(self, script: dict[str, Any]) -> None:
        before = await self.weather.script()
        await self.weather.put(script)
        for kind, rule in zip(FAULTS, before["responses"], strict=False):
            self.struck[kind] += ENDLESS - rule["times"]
