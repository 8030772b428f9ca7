"""A function's execution environments: as many as are asked for at once, up to a limit; then a line forms."""

import asyncio
import time
from collections import deque
from dataclasses import replace

from local.invocation import Outcome, Throttled
from local.journal import Journal
from local.lambda_runtime.blueprint import Blueprint
from local.lambda_runtime.environment import ExecutionEnvironment, InitFailed

SOON_S = 0.01  # an event waits so long for a busy environment before another one is started for it
FAILURE_REST_S = 1.0  # after a failed start its error answers for so long, instead of a storm of starts


class FunctionPool:
    """Hands each event to an idle environment, to the next that is free, or to a new one."""

    def __init__(
        self,
        blueprint: Blueprint,
        *,
        limit: int,
        beforehand: int,
        start_slots: asyncio.Semaphore,
        journal: Journal,
    ) -> None:
        """`start_slots` is shared by all pools: so many processes start at once on this machine."""
        self.blueprint = blueprint
        self.limit = limit
        self.beforehand = min(beforehand, limit)
        self.environments: set[ExecutionEnvironment] = set()
        self._start_slots = start_slots
        self._journal = journal
        self._idle: list[ExecutionEnvironment] = []
        self._line: deque[asyncio.Future[ExecutionEnvironment]] = deque()
        self._background_line: deque[asyncio.Future[ExecutionEnvironment]] = deque()
        self._starting = 0
        self._started = 0
        self._starts: set[asyncio.Task[None]] = set()
        self._failure: tuple[float, InitFailed] | None = None
        self._closing = False

    async def start_first(self) -> None:
        """Start one environment, if any shall be there beforehand; a failure is met again by the first event."""
        if self.beforehand:
            await self._begin_start(on_demand=False)

    async def start_others(self) -> None:
        """Start the rest of those that shall be there beforehand."""
        while self._failure is None and len(self.environments) + self._starting < self.beforehand:
            await self._begin_start(on_demand=False)

    async def invoke(
        self, payload: bytes, *, patience_s: float, request_id: str | None = None, background: bool = False
    ) -> Outcome:
        """Run one event; raises Throttled when no environment came free within `patience_s`.

        `background` stands aside for those who wait for their answer.
        """
        began = time.monotonic()
        while True:
            try:
                environment = await self._place(
                    patience_s - (time.monotonic() - began), background=background
                )
            except InitFailed as failure:
                return Outcome(failure.payload, failure.kind, "init")
            if environment.still_lives():  # else it was killed while it rested
                waited_ms = (time.monotonic() - began) * 1000
                return replace(await environment.invoke(payload, request_id), waited_ms=waited_ms)

    def ready(self, environment: ExecutionEnvironment) -> None:
        """An environment asks for work: the first in line gets it, else it is frozen."""
        for line in (self._line, self._background_line):
            while line:
                waiter = line.popleft()
                if not waiter.done():
                    waiter.set_result(environment)
                    return
        environment.freeze()
        self._idle.append(environment)

    def gone(self, environment: ExecutionEnvironment) -> None:
        """An environment died: keep the number that was started beforehand, and serve the line."""
        was_started = environment in self.environments
        self.environments.discard(environment)
        if environment in self._idle:
            self._idle.remove(environment)
        if was_started and not self._closing:
            if len(self.environments) + self._starting < self.beforehand:
                self._begin_start(on_demand=False)
            self._scale()

    async def close(self) -> None:
        """Kill all environments; events in line or under way get no answer."""
        self._closing = True
        for start in self._starts:
            start.cancel()
        await asyncio.gather(*self._starts, return_exceptions=True)
        await asyncio.gather(*(environment.close() for environment in list(self.environments)))

    async def _place(self, patience_s: float, *, background: bool) -> ExecutionEnvironment:
        if self._idle:
            return self._idle.pop()
        if self._failure and time.monotonic() - self._failure[0] < FAILURE_REST_S:
            raise self._failure[1]
        waiter: asyncio.Future[ExecutionEnvironment] = asyncio.get_running_loop().create_future()
        line = self._background_line if background else self._line
        line.append(waiter)
        if self.environments:
            asyncio.get_running_loop().call_later(SOON_S, self._scale)
        else:
            self._scale()
        try:
            done, _ = await asyncio.wait({waiter}, timeout=max(patience_s, 0))
        except asyncio.CancelledError:
            if waiter.done() and waiter.exception() is None:
                self.ready(waiter.result())
            waiter.cancel()
            raise
        if not done:
            waiter.cancel()
            line.remove(waiter)
            raise Throttled
        return waiter.result()

    def _scale(self) -> None:
        """Start as many environments as wait for one, within the limit."""
        if self._closing:
            return
        wanted = len(self._line) + len(self._background_line) - self._starting
        room = self.limit - len(self.environments) - self._starting
        for _ in range(min(wanted, room)):
            self._begin_start(on_demand=True)

    def _begin_start(self, *, on_demand: bool) -> asyncio.Task[None]:
        self._starting += 1
        start = asyncio.create_task(self._start(on_demand=on_demand))
        self._starts.add(start)
        start.add_done_callback(self._starts.discard)
        return start

    async def _start(self, *, on_demand: bool) -> None:
        environment: ExecutionEnvironment | None = None
        try:
            async with self._start_slots:
                if on_demand and not self._line and not self._background_line:
                    return  # the demand went while this start stood in line itself
                self._started += 1
                name = f"{self.blueprint.function.name}#{self._started}"
                environment = ExecutionEnvironment(self.blueprint, name, self, self._journal)
                await environment.start()
        except InitFailed as failure:
            self._give_up(failure)
            return
        except BaseException:
            if environment:
                await environment.close()
            raise
        finally:
            self._starting -= 1
        self._failure = None
        if environment.alive:
            self.environments.add(environment)
            self.ready(environment)

    def _give_up(self, failure: InitFailed) -> None:
        """Answer everybody in line with the error, and show it once."""
        if self._failure is None or self._failure[1].payload != failure.payload:
            name = self.blueprint.function.name
            self._journal.say(
                f"{name} cannot start: {failure.payload.decode(errors='replace')}\n{failure.log}"
            )
        self._failure = (time.monotonic(), failure)
        for line in (self._line, self._background_line):
            while line:
                waiter = line.popleft()
                if not waiter.done():
                    waiter.set_exception(failure)
