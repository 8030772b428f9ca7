"""A cloud of one's own: started in an empty folder on free ports, killed and started again at will, always taken down."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local.child import birth, free_port, spawn
from local.errors import CannotStart
from local.paths import PACKAGES, ROOT
from local.postgres import PostgresServer
from local.state import State

# More processes a function than this only take turns on two cores, and each costs its start.
ENVIRONMENTS = 5
START_PATIENCE_S = 120.0
STOP_PATIENCE_S = 30.0
ENDING_PATIENCE_S = 8.0
LOOKS_AGAIN_S = 0.05
LAST_LINES = 15


class OwnCloud:
    """The cloud in one folder, and every process of it by name."""

    def __init__(
        self, folder: Path, function_environment: Mapping[str, str], *, schedules: bool = True
    ) -> None:
        self.state = State(folder)
        self.stack: dict[str, Any] = {}
        self._log = self.state.folder / "logs" / "stack.log"
        # Everybody comes from this machine's one address.
        self._command = [
            sys.executable,
            "-m",
            "local",
            "up",
            "--no-detach",
            "--emulator",
            "--schedules",
            "on" if schedules else "off",
        ]
        self._command += ["--rate-limits", "off", "--environments", str(ENVIRONMENTS)]
        self._command += ["--port", str(free_port()), "--state", str(self.state.folder)]
        for name, value in function_environment.items():
            self._command += ["--function-env", f"{name}={value}"]
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start it on whatever state there is; to be called in the main thread, whose death ends it."""
        self.state.stack_file.unlink(missing_ok=True)
        self._log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._log.open("ab") as output:
            self._process = spawn(
                self._command,
                environment=os.environ | {"PYTHONPATH": PACKAGES},
                folder=ROOT,
                output=output,
                death_signal=signal.SIGTERM,
            )

    async def ready(self) -> dict[str, Any]:
        """Wait until all of it runs; what stack.json says then. Raises CannotStart."""
        give_up_at = time.monotonic() + START_PATIENCE_S
        while (stack := self.state.stack()) is None:
            self.check_that_it_lives()
            if time.monotonic() > give_up_at:
                raise CannotStart(
                    f"the cloud is not ready after {START_PATIENCE_S:.0f} s:\n{self._last_words()}"
                )
            await asyncio.sleep(LOOKS_AGAIN_S)
        self.stack = stack
        return stack

    def check_that_it_lives(self) -> None:
        """Raises CannotStart if it has ended by itself."""
        if self._process is None or self._process.poll() is not None:
            raise CannotStart(f"the cloud has ended by itself:\n{self._last_words()}")

    def _last_words(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LAST_LINES:])

    def processes(self) -> dict[str, int]:
        """The pids of what runs now, by name: services, and execution environments as `function#number`."""
        stack = self.state.stack()
        return {} if stack is None else stack["pids"]

    def kill(self, name: str) -> bool:
        """Kill -9; whether it was there to be killed. A pid that is somebody else's by now is left alone."""
        pid = self.processes().get(name, 0)
        born = self.state.processes().get(pid)
        try:
            process = os.pidfd_open(pid)
        except OSError:
            return False
        try:
            if born is None or birth(pid) != born:
                return False
            signal.pidfd_send_signal(process, signal.SIGKILL)
        except ProcessLookupError:
            return False
        else:
            return True
        finally:
            os.close(process)

    def kill_all(self) -> None:
        """Kill -9 of every process at one moment, and a new start on what is left.

        The supervisor is stopped first, so that it starts nothing again meanwhile.
        """
        if self._process is None:
            return
        self._process.send_signal(signal.SIGSTOP)
        for name in self.processes():
            if name != "stack":
                self.kill(name)
        self._process.kill()
        self._process.wait()
        self.begin()

    def take_down(self) -> None:
        """End all of it."""
        impatience = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C changes nothing
        try:
            if self._process is not None:
                self._process.send_signal(signal.SIGCONT)
                self._process.terminate()
                try:
                    self._process.wait(STOP_PATIENCE_S)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
            self.state.stop()
        finally:
            signal.signal(signal.SIGINT, impatience)


@contextmanager
def cloud_of_its_own(
    folder: Path, function_environment: Mapping[str, str], *, schedules: bool = True
) -> Generator[OwnCloud]:
    """A cloud that has begun to start; nothing of it is left afterwards but the folder's logs.

    If this process is killed, the kernel tells the cloud to end. Raises CannotStart.
    """
    state = State(folder)
    _wait_for_the_last_one(state)
    state.wait_for_the_dead()
    _wipe(state.folder)
    cloud = OwnCloud(folder, function_environment, schedules=schedules)
    try:
        cloud.begin()
        yield cloud
    finally:
        cloud.take_down()


def _wait_for_the_last_one(state: State) -> None:
    """The cloud of a run that was killed is just ending; that of one that runs is left alone."""
    give_up_at = time.monotonic() + ENDING_PATIENCE_S
    while state.holder() is not None:
        if time.monotonic() > give_up_at:
            raise CannotStart(f"a cloud is running in {state.folder}: wait for it, or choose another STATE")
        time.sleep(0.1)


def _wipe(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    # Where root may not have a user namespace, the data is kept outside the folder.
    shutil.rmtree(PostgresServer(folder / "postgres").data, ignore_errors=True)
