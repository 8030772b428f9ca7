"""A proxy in front of Stripe's emulator that knows how long Stripe has taken: from a request to the end of its answer."""

import asyncio
import contextlib
import time


class StripeClock:
    """Passes bytes on, and adds up the time between a request and the last byte of its answer."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._server: asyncio.Server | None = None
        self.seconds = 0.0

    @property
    def url(self) -> str:
        """Where to ask Stripe so that it is timed."""
        if self._server is None:
            raise RuntimeError("not open yet")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def open(self) -> None:
        """Listen on a port of its own."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    def close(self) -> None:
        """Accept no more."""
        if self._server:
            self._server.close()

    def taken(self) -> float:
        """Stripe's seconds since the last time this was asked."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection("127.0.0.1", self._upstream)
        asked = 0.0

        async def pass_on_requests() -> None:
            nonlocal asked
            while chunk := await reader.read(65_536):
                asked = time.perf_counter()
                requests.write(chunk)
            requests.close()

        async def pass_on_answers() -> None:
            nonlocal asked
            while chunk := await answers.read(65_536):
                writer.write(chunk)
                now = time.perf_counter()
                self.seconds += now - asked
                asked = now
            writer.close()

        with contextlib.suppress(OSError):
            await asyncio.gather(pass_on_requests(), pass_on_answers())
