"""The backend that runs every function of a template in processes of this machine."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

from local.invocation import PLACE_PATIENCE_S, Outcome, Throttled, what_happened
from local.journal import Journal
from local.lambda_runtime.blueprint import draw
from local.lambda_runtime.environment import ExecutionEnvironment
from local.lambda_runtime.pool import FunctionPool
from local.template import LambdaFunction

STARTING_AT_ONCE = 2
MEMORY_CHECK_S = 0.1
RETRY_DELAYS_S = (
    60,
    120,
)  # https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html


class LambdaRuntime:
    """One pool a function, and the queue of asynchronous invocations."""

    def __init__(
        self,
        functions: Mapping[str, LambdaFunction],
        environments: Mapping[str, Mapping[str, str]],
        *,
        folder: Path,
        journal: Journal,
        limit: int,
        beforehand: Mapping[str, int] | None = None,
    ) -> None:
        """`environments`: variables other than the template's; `limit`: processes a function; `beforehand`: started in `open`."""
        self.journal = journal
        start_slots = asyncio.Semaphore(STARTING_AT_ONCE)
        self.pools: dict[str, FunctionPool] = {}
        for name, function in functions.items():
            reserved = function.reserved_concurrency
            self.pools[name] = FunctionPool(
                draw(function, environments.get(name, function.environment), folder / name),
                limit=limit if reserved is None else min(limit, reserved),
                beforehand=(beforehand or {}).get(name, 0),
                start_slots=start_slots,
                journal=journal,
            )
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Start the environments that shall be warm from the beginning: wait for the first of each function."""
        self._keep(asyncio.create_task(self._watch_memory()))
        await asyncio.gather(*(pool.start_first() for pool in self.pools.values()))
        self._keep(asyncio.create_task(self._start_others()))

    async def close(self) -> None:
        """Kill everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(pool.close() for pool in self.pools.values()))

    async def invoke(
        self,
        function: LambdaFunction,
        payload: bytes,
        *,
        patience_s: float = PLACE_PATIENCE_S,
        request_id: str | None = None,
    ) -> Outcome:
        """Invoke and wait for the answer; raises Throttled if no place came free within `patience_s`."""
        return await self.pools[function.name].invoke(payload, patience_s=patience_s, request_id=request_id)

    def enqueue(self, function: LambdaFunction, payload: bytes) -> None:
        """Invoke asynchronously, with the retries and the greatest age that the template grants."""
        self._keep(asyncio.create_task(self._invoke_asynchronously(function, payload)))

    def environments(self) -> list[ExecutionEnvironment]:
        """All that have started."""
        return [environment for pool in self.pools.values() for environment in pool.environments]

    async def _invoke_asynchronously(self, function: LambdaFunction, payload: bytes) -> None:
        loop = asyncio.get_running_loop()
        too_old = loop.time() + function.async_max_age_s
        for delay in (*RETRY_DELAYS_S[: function.async_retries], None):
            try:
                pool = self.pools[function.name]
                outcome = await pool.invoke(payload, patience_s=too_old - loop.time(), background=True)
            except Throttled:
                self.journal.say(f"{function.name}: an asynchronous event grew too old and was dropped")
                return
            report(self.journal, function, outcome, what="asynchronous")
            if outcome.error is None or delay is None or loop.time() + delay > too_old:
                return
            await asyncio.sleep(delay)

    async def _start_others(self) -> None:
        """One after the other, so that events that need a start of their own find a slot."""
        for pool in self.pools.values():
            await pool.start_others()

    async def _watch_memory(self) -> None:
        while True:
            await asyncio.sleep(MEMORY_CHECK_S)
            for environment in self.environments():
                environment.check_memory()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def report(journal: Journal, function: LambdaFunction, outcome: Outcome, *, what: str) -> None:
    """The terminal's line for an invocation that no HTTP request stands behind."""
    try:
        happened = what_happened(json.loads(outcome.payload))
    except ValueError:
        happened = ""
    journal.invocation(
        function.name,
        what=what,
        status="error" if outcome.error else "ok   ",
        ms=outcome.duration_ms,
        start="cold" if outcome.cold else "warm",
        happened=happened,
    )
