"""A network that is cut at the n-th boundary between two statements, whoever sends them."""

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager

from local.breakage.proxy import cut_network
from local.breakage.wire import Batch
from local.child import free_port


class NthBoundary:
    """Armed, it cuts once. Boundaries count from 0 on: each batch has one before each of its statements and one after the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: int | None = None
        self.cut: str | None = None

    def arm(self, number: int | None) -> None:
        with self._lock:
            self._left, self.cut = number, None

    async def admit(self) -> None:
        """Nobody waits."""

    def boundary(self, batch: Batch) -> int | None:
        with self._lock:
            if self._left is None:
                return None
            place, self._left = self._left, self._left - len(batch.steps) - 1
            if self._left >= 0:
                return None
            self._left = None
            self.cut = " ".join([*batch.steps[:place], "|", *batch.steps[place:]])
            return place


@contextmanager
def cuttable(database_url: str) -> Generator[tuple[NthBoundary, int]]:
    """The cut, and the port at which the database is reached through it."""
    plan, port = NthBoundary(), free_port()
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with cut_network(port, lambda: database_url, plan):
            ready.set()
            await asyncio.to_thread(over.wait)

    serving = threading.Thread(target=asyncio.run, args=[serve()])
    serving.start()
    try:
        assert ready.wait(10)
        yield plan, port
    finally:
        over.set()
        serving.join()
