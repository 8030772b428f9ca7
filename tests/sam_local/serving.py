"""Servers as processes that end with the test, whatever becomes of it."""

import socket
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM

from local.child import bound_command
from tests.emulator_process import eventually

LOOPBACK = "127.0.0.1"
PATIENCE_S = 60  # a machine may be busy; `sam local start-lambda` ends only after its containers


@contextmanager
def serving(
    command: Sequence[str], port: int, *, environment: Mapping[str, str], folder: Path, log: Path
) -> Generator[None]:
    """Runs a command that listens on a port of loopback."""
    with log.open("wb") as output:
        server = subprocess.Popen(
            bound_command(command, death_signal=SIGTERM),
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
        )

    def listens() -> bool:
        assert server.poll() is None, f"{' '.join(command)} has ended:\n{log.read_text()}"
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, port)) == 0

    try:
        eventually(listens, within=PATIENCE_S)
        yield
    finally:
        server.terminate()
        server.wait(PATIENCE_S)
