"""The network between functions and database: cut where a step says, and a place where those of a burst meet."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from local.breakage.wire import Batch

MEET_S = 0.03  # so long a batch of a burst waits for the others


@dataclass
class StepNetwork:
    """What it does to the batches that pass is said step by step; `cuts` counts what was cut, and after how much of it.

    `armed`: the batch of this number from now on is cut, so far into its statements. `expected`: so many callers are at
    work at once, and their batches go on together, that they may quarrel.
    """

    armed: tuple[int, float] | None = None
    expected: int = 0
    cuts: Counter[tuple[tuple[str, ...], int]] = field(default_factory=Counter[tuple[tuple[str, ...], int]])
    _waiting: int = 0
    _together: asyncio.Event = field(default_factory=asyncio.Event)

    def boundary(self, batch: Batch) -> int | None:
        """After how many statements of this batch its connection is cut; None: it is not."""
        if self.armed is None:
            return None
        number, where = self.armed
        if number > 0:
            self.armed = (number - 1, where)
            return None
        self.armed = None
        place = int(where * (len(batch.steps) + 1))
        self.cuts[batch.steps, place] += 1
        return place

    async def admit(self) -> None:
        """Returns at once, or in a burst as soon as the others have come so far, too."""
        if self.expected < 2:
            return
        self._waiting += 1
        together = self._together
        if self._waiting >= self.expected:
            self._let_go()
            return
        try:
            await asyncio.wait_for(together.wait(), MEET_S)
        except TimeoutError:
            if together is self._together:
                self._let_go()

    def _let_go(self) -> None:
        self._together.set()
        self._together, self._waiting = asyncio.Event(), 0
