"""The network between the functions and PostgreSQL: passes batches on, and cuts where the plan says."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Protocol
from urllib.parse import urlsplit

from local.breakage.cuts import sql_functions
from local.breakage.wire import Batch, Frontend

READ_SIZE = 1 << 16
LAST_WORK_S = 10.0  # what a server may take to end a connection whose client is gone


class Plan(Protocol):
    """Whoever says what is cut."""

    def boundary(self, batch: Batch) -> int | None:
        """After how many statements of this batch its connection is cut; None: it is not."""
        ...

    async def admit(self) -> None:
        """Returns when the next batch may go on."""
        ...


class DatabaseProxy:
    """Listens on a port of its own from `open` to `close`."""

    def __init__(self, port: int, database_url: Callable[[], str], plan: Plan) -> None:
        """`database_url` is asked for each connection: a cloud that is started again may have moved."""
        self.port = port
        self.plan = plan
        self._database_url = database_url
        self._functions = sql_functions()
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Accept connections."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, backlog=256)

    async def close(self) -> None:
        """Accept no more and end those that are open."""
        if self._server:
            self._server.close()
        for client in self._connections.values():
            client.transport.abort()
        await asyncio.gather(*self._connections)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve_to_the_end(reader, writer))
        self._connections[connection] = writer
        connection.add_done_callback(self._connections.pop)

    async def _serve_to_the_end(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):  # whoever goes away goes away
            await self._serve(reader, writer)
        await _closed(writer)

    async def _serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        port = urlsplit(self._database_url()).port
        server, requests = await asyncio.open_connection("127.0.0.1", port)
        back = asyncio.create_task(_pump(server, answers))
        try:
            await self._pass_on(client, requests, answers)
        finally:
            # The server ends what it has got, and then the connection: only that is a commit whose answer was lost.
            with contextlib.suppress(OSError, TimeoutError, RuntimeError):
                requests.write_eof()
                await asyncio.wait_for(asyncio.shield(back), LAST_WORK_S)
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)
            await _closed(requests)

    async def _pass_on(
        self, client: asyncio.StreamReader, requests: asyncio.StreamWriter, answers: asyncio.StreamWriter
    ) -> None:
        frontend = Frontend(self._functions)
        while data := await client.read(READ_SIZE):
            for message in frontend.read(data):
                if isinstance(message, bytes):
                    requests.write(message)
                    continue
                await self.plan.admit()
                place = self.plan.boundary(message)
                requests.writelines(message.parts[:place])
                if place is not None:
                    answers.transport.abort()
                    return
            await requests.drain()


@asynccontextmanager
async def cut_network(
    port: int, database_url: Callable[[], str], plan: Plan
) -> AsyncGenerator[DatabaseProxy]:
    """A proxy that listens on `port` meanwhile."""
    proxy = DatabaseProxy(port, database_url, plan)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _pump(server: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
    """Passes answers on; those that nobody hears any more are dropped."""
    with contextlib.suppress(OSError):
        while data := await server.read(READ_SIZE):
            if not answers.is_closing():
                answers.write(data)
        answers.close()
