"""What is said on the terminal while it happens."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

PROGRESS_EVERY_S = 2.0


@dataclass
class Programme:
    """Says what happens, when it happens."""

    began: float = field(default_factory=time.monotonic)
    scenes: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def say(self, text: str) -> None:
        """One line with the seconds since the beginning."""
        print(f"{time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    @asynccontextmanager
    async def scene(
        self, title: str, told: Callable[[], str], *, every_s: float = PROGRESS_EVERY_S
    ) -> AsyncGenerator[None]:
        """Tell how far a scene is every so often, unless it is where it was, and how it ended."""
        began = time.monotonic()
        self.say(title)

        async def tell() -> None:
            said = ""
            while True:
                await asyncio.sleep(every_s)
                if (now := told()) != said:
                    self.say(f"  ... {now}")
                said = now

        teller = asyncio.create_task(tell())
        try:
            yield
        finally:
            teller.cancel()
        self.say(f"  {told()}")
        self.scenes.append({"title": title, "seconds": round(time.monotonic() - began, 2), "told": told()})
