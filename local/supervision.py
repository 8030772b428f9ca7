"""Keeps the cloud's services alive: what dies is started again, on its old port."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

from local.errors import CannotStart
from local.journal import Journal

FIRST_START_S = 60.0
DEATHS_S = 5.0  # an old process's port or shared memory may still be in use for a moment
RESTART_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
POLL_S = 0.02
STOP_PATIENCE_S = 10.0


class ServiceFailed(CannotStart):
    """A service does not start; the message holds its last words."""


class Service:
    """One process that shall always run."""

    def __init__(
        self,
        name: str,
        *,
        spawn: Callable[[], subprocess.Popen[bytes]],
        ready: Callable[[], Awaitable[bool]],
        log: Path,
        journal: Journal,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self._spawn = spawn
        self._ready = ready
        self._log = log
        self._journal = journal
        self._stop_signal = stop_signal
        self._exited = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start and wait until it is ready, then keep it so; raises ServiceFailed."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._begin()
        while not await self._up():
            waited = loop.time() - began
            if waited > FIRST_START_S or (self._exited.is_set() and waited > DEATHS_S):
                raise ServiceFailed(f"{self.name} does not start: {self._last_words()}")
            if self._exited.is_set():
                await asyncio.sleep(RESTART_PAUSE_S)
                self._begin()
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """End it for good."""
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self.process is None:
            return
        for number in (self._stop_signal, signal.SIGKILL):
            if not self._exited.is_set():
                self.process.send_signal(number)
            try:
                await asyncio.wait_for(self._exited.wait(), STOP_PATIENCE_S)
                break
            except TimeoutError:
                continue

    async def _keep(self) -> None:
        while True:
            await self._exited.wait()
            status = self.process.returncode if self.process else None
            self._journal.say(f"{self.name} ended (status {status}): starting it again")
            pause = RESTART_PAUSE_S
            while True:
                self._begin()
                while not self._exited.is_set() and not await self._up():
                    pass
                if not self._exited.is_set():
                    break
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _up(self) -> bool:
        """Whether it is ready; looks again after a little while."""
        if self._exited.is_set():
            return False
        if await self._ready():
            return not self._exited.is_set()
        await asyncio.sleep(POLL_S)
        return False

    def _begin(self) -> None:
        self._exited.clear()
        self.process = process = self._spawn()
        pidfd = os.pidfd_open(process.pid)
        loop = asyncio.get_running_loop()

        def exited() -> None:
            if process.poll() is not None:
                loop.remove_reader(pidfd)
                os.close(pidfd)
                self._exited.set()

        loop.add_reader(pidfd, exited)

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return f"{lines[-1].strip() if lines else 'it says nothing'} (more in {self._log})"


async def port_answers(port: int) -> bool:
    """Whether something accepts connections on a port of this machine."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
