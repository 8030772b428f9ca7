"""What goes wrong at Stripe during the sale, through the emulator's fault script."""

import asyncio
import time
from dataclasses import dataclass
from random import Random
from typing import Any

from aiohttp import ClientError, ClientSession

UNLIKELY = 0.05
SHUFFLE_MS = 1200
MOST_COPIES = 5
DARK_CALLS = 12
CHANGES_EVERY_S = 0.25
ENDLESS = 10**9
PATIENCE_S = 90.0  # Stripe itself is killed here, and started again
PAUSE_S = 0.1


@dataclass
class Weather:
    """Keeps changing how many copies of an event Stripe delivers; breaks connections after the work was done."""

    http: ClientSession
    api_base: str
    random: Random
    deliver: bool = True

    async def begin(self) -> None:
        """The first calls that make an intent are all cut off, then one call in twenty of any kind."""
        dark = {"method": "POST", "path": "/v1/payment_intents", "times": DARK_CALLS, "timeout_after": True}
        drizzle = {"times": ENDLESS, "timeout_after": True, "probability": UNLIKELY}
        await self.put({"shuffle_ms": SHUFFLE_MS, "responses": [dark, drizzle]})

    async def keep_changing(self) -> None:
        """Until cancelled."""
        while True:
            await self.turn(self.deliver)
            await asyncio.sleep(CHANGES_EVERY_S)

    async def turn(self, deliver: bool) -> None:
        """Let events through, in another number of copies than before, or hold them back."""
        self.deliver = deliver
        script = await self.script()
        # `times` goes on counting from where it is; the next events have their own number of copies.
        await self.put(script | {"deliver": self.deliver, "duplicate": self.random.randint(1, MOST_COPIES)})

    async def cut_off(self) -> int:
        """How many calls were cut off after their work was done; some few may have escaped the count."""
        dark, drizzle = (await self.script())["responses"]
        return (DARK_CALLS - dark["times"]) + (ENDLESS - drizzle["times"])

    async def clear_up(self) -> None:
        """Nothing goes wrong any more."""
        self.deliver = True
        await self.put({})

    async def deliveries(self) -> list[dict[str, Any]]:
        """How the delivery of each event stands."""
        return await self._ask("GET", "deliveries")

    async def script(self) -> dict[str, Any]:
        """The emulator's fault script as it stands."""
        return await self._ask("GET", "faults")

    async def put(self, script: dict[str, Any]) -> None:
        """Another fault script."""
        await self._ask("PUT", "faults", script)

    async def _ask(self, method: str, what: str, body: object = None) -> Any:
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                async with self.http.request(
                    method, f"{self.api_base}/_emulator/{what}", json=body
                ) as answer:
                    if answer.status != 200:
                        raise RuntimeError(f"the emulator refuses {what}: {await answer.text()}")
                    return await answer.json()
            except (ClientError, TimeoutError):
                if time.monotonic() > give_up_at:
                    raise
            await asyncio.sleep(PAUSE_S)
