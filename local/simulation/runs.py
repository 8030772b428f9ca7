"""Runs: fresh rows, some steps, everything to its end, and what was broken."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from local.simulation.rest import broken_at_rest, broken_now
from local.simulation.steps import Step, size_of
from local.simulation.world import World

LOOKS_EVERY, ASKS_EVERY = 2, 10  # steps: at the database, and at Stripe as well


@dataclass
class Run:
    """What came of a list of steps: `broken` is empty if every promise held; `done` are the steps until then."""

    seed: str
    steps: Sequence[Step]
    broken: list[str] = field(default_factory=list[str])
    done: int = 0
    seconds: float = 0.0

    @property
    def promises(self) -> set[str]:
        """The names of what was broken."""
        return {text.partition(":")[0] for text in self.broken}


async def simulate(
    world: World, seed: str, steps: Sequence[Step], tell: Callable[[Step], None] | None = None
) -> Run:
    """Does the steps one after the other in an empty shop; stops at the first thing that is wrong."""
    began = time.monotonic()
    run = Run(seed, steps)
    await world.begin()
    for number, step in enumerate(steps, 1):
        if tell:
            tell(step)
        await world.do(step)
        run.done = size_of(steps[:number])
        asks = number % ASKS_EVERY == 0 or step["do"] == "book"  # which may leave a payment open
        if number % LOOKS_EVERY == 0 or asks or world.wrong:
            run.broken = await broken_now(world, asks_stripe=asks)
            if run.broken:
                break
    else:
        run.broken = await broken_now(world, asks_stripe=True) or await broken_at_rest(world)
    run.seconds = time.monotonic() - began
    return run
