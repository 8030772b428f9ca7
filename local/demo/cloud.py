"""The demo's own cloud: started in an empty folder on free ports, and always taken down."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local.child import free_port, spawn
from local.errors import CannotStart
from local.postgres import PostgresServer
from local.state import State

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = os.pathsep.join(
    str(ROOT / folder) for folder in (".", "shared", "layers/postgres", "layers/stripe")
)
# More processes a function than this only take turns on two cores, and each costs its start.
ENVIRONMENTS = 5
START_PATIENCE_S = 90.0
STOP_PATIENCE_S = 30.0
ENDING_PATIENCE_S = 8.0
LAST_LINES = 15


@contextmanager
def cloud_of_its_own(folder: Path) -> Generator[dict[str, Any]]:
    """A running cloud, as its stack.json describes it; nothing of it is left afterwards but the folder's logs.

    If this process is killed, the kernel tells the cloud to end. Raises CannotStart.
    """
    state = State(folder)
    _wait_for_the_last_one(state)
    state.wait_for_the_dead()
    _wipe(state.folder)
    log = state.folder / "logs" / "stack.log"
    log.parent.mkdir(mode=0o700, parents=True)
    command = [sys.executable, "-m", "local", "up", "--no-detach", "--emulator", "--schedules", "on"]
    # Everybody comes from this machine's one address.
    command += ["--rate-limits", "off", "--environments", str(ENVIRONMENTS)]
    command += ["--port", str(free_port()), "--state", str(state.folder)]
    with log.open("wb") as output:
        process = spawn(
            command,
            environment=os.environ | {"PYTHONPATH": PACKAGES},
            folder=ROOT,
            output=output,
            death_signal=signal.SIGTERM,
        )
    try:
        yield _when_ready(process, state, log)
    finally:
        _take_down(process, state)


def _wait_for_the_last_one(state: State) -> None:
    """The cloud of a demo that was killed is just ending; that of a running one is left alone."""
    give_up_at = time.monotonic() + ENDING_PATIENCE_S
    while state.holder() is not None:
        if time.monotonic() > give_up_at:
            raise CannotStart(f"a demo is running in {state.folder}: wait for it, or choose another STATE")
        time.sleep(0.1)


def _wipe(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    # Where root may not have a user namespace, the data is kept outside the folder.
    shutil.rmtree(PostgresServer(folder / "postgres").data, ignore_errors=True)


def _when_ready(process: subprocess.Popen[bytes], state: State, log: Path) -> dict[str, Any]:
    give_up_at = time.monotonic() + START_PATIENCE_S
    while (stack := state.stack()) is None:
        if process.poll() is not None or time.monotonic() > give_up_at:
            said = "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])
            raise CannotStart(f"the cloud did not start:\n{said}")
        time.sleep(0.05)
    return stack


def _take_down(process: subprocess.Popen[bytes], state: State) -> None:
    impatience = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C changes nothing
    try:
        process.terminate()
        try:
            process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        state.stop()
    finally:
        signal.signal(signal.SIGINT, impatience)
