"""Runs the functions of functions_under_test/ in real processes behind a real gateway, for one test at a time."""

import asyncio
import io
import json
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from local.gateway import PATIENCE_HEADER, Gateway
from local.journal import Journal
from local.lambda_runtime.environment import ExecutionEnvironment
from local.lambda_runtime.pool import FunctionPool
from local.lambda_runtime.runtime import LambdaRuntime
from local.template import load_template

TEMPLATE = Path(__file__).with_name("functions_under_test") / "template.yaml"


class Cloud:
    """What a test needs of it."""

    def __init__(
        self, url: str, session: ClientSession, runtime: LambdaRuntime, terminal: io.StringIO
    ) -> None:
        self.url = url
        self.session = session
        self.runtime = runtime
        self._terminal = terminal

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and body."""
        async with self.session.get(self.url + path, headers=headers) as response:
            return response.status, await response.text()

    async def invoke(
        self, function: str, event: Any, *, patience_s: float = 20
    ) -> tuple[int, Any, str | None]:
        """Status, answer and X-Amz-Function-Error of Lambda's Invoke API."""
        url = f"{self.url}/2015-03-31/functions/{function}/invocations"
        headers = {PATIENCE_HEADER: str(patience_s)}
        async with self.session.post(url, data=json.dumps(event), headers=headers) as response:
            return response.status, await response.json(), response.headers.get("X-Amz-Function-Error")

    def pool(self, function: str) -> FunctionPool:
        """A function's execution environments."""
        return self.runtime.pools[function]

    def only(self, function: str) -> ExecutionEnvironment:
        """The one execution environment that the function has."""
        (environment,) = self.pool(function).environments
        return environment

    def terminal(self) -> str:
        """What the terminal shows once all is written."""
        return self._terminal.getvalue()


@asynccontextmanager
async def cloud(folder: Path, **beforehand: int) -> AsyncGenerator[Cloud]:
    """A cloud that ends with the block; `beforehand` says how many environments of a function it starts with."""
    template = load_template(TEMPLATE)
    terminal = io.StringIO()
    journal = Journal(folder / "logs", terminal)
    runtime = LambdaRuntime(
        template.functions, {}, folder=folder / "lambda", journal=journal, limit=4, beforehand=beforehand
    )
    gateway = Gateway(template.functions, runtime, journal)
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        await runtime.open()
        await gateway.open(listening)
        async with ClientSession() as session:
            yield Cloud(url, session, runtime, terminal)
    finally:
        await gateway.close()
        await runtime.close()
        listening.close()
        journal.close()


def within(folder: Path, scenario: Callable[[Cloud], Awaitable[None]], **beforehand: int) -> None:
    """Run a scenario against a cloud of its own."""

    async def run() -> None:
        async with cloud(folder, **beforehand) as running:
            await scenario(running)

    asyncio.run(run())


async def eventually(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something holds; fails if it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for is another process's doing
            await asyncio.sleep(0.01)


def state_of(pid: int) -> str:
    """The process's state letter, as in /proc; T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
