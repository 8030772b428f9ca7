"""The state folder: who runs the cloud in it, which processes belong to it, and how to end them."""

import contextlib
import fcntl
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from local.child import birth
from local.errors import CannotStart

STOP_PATIENCE_S = 30.0
DEATH_PATIENCE_S = 15.0  # for what dies by itself when its parent was killed
LEAVE_PATIENCE_S = 1.0
POLL_S = 0.02


class StateInUse(CannotStart):
    """A living cloud holds this folder."""


class State:
    """One folder; two clouds side by side have one each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.stack_file = self.folder / "stack.json"
        self._processes_file = self.folder / "processes.json"
        self._lock_file = self.folder / "lock"
        self._lock: int | None = None

    def take(self) -> None:
        """Hold the folder until this process ends, however it ends; raises StateInUse."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StateInUse(
                f"{self.folder} is in use by a running cloud: make down, or another STATE"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def holder(self) -> int | None:
        """The pid of the living cloud, if there is one."""
        try:
            lock = os.open(self._lock_file, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.pread(lock, 32, 0) or 0) or None
        else:
            return None
        finally:
            os.close(lock)

    def stack(self) -> dict[str, Any] | None:
        """What stack.json says, if a cloud is ready or was when it was killed."""
        try:
            return json.loads(self.stack_file.read_text())
        except FileNotFoundError:
            return None

    def record_processes(self, pids: list[int]) -> None:
        """Remember what to wait for, should this process be killed; a pid with its birth is never mistaken."""
        births = {str(pid): born for pid in pids if (born := birth(pid)) is not None}
        unfinished = self._processes_file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(births))
        unfinished.replace(self._processes_file)

    def wait_for_the_dead(self, processes: dict[int, str] | None = None) -> None:
        """Wait until nothing of an earlier cloud lives; what does not die by itself is killed."""
        processes = self.processes() if processes is None else processes
        patience = time.monotonic() + DEATH_PATIENCE_S
        while living := [pid for pid, born in processes.items() if birth(pid) == born]:
            if time.monotonic() > patience:
                for pid in living:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_S)
        # Then until whoever inherited them has taken leave of them, where somebody does.
        patience = time.monotonic() + LEAVE_PATIENCE_S
        while any(Path(f"/proc/{pid}").exists() for pid in processes) and time.monotonic() < patience:
            time.sleep(POLL_S)

    def forget(self) -> None:
        """Nothing runs here any more."""
        self.stack_file.unlink(missing_ok=True)
        self._processes_file.unlink(missing_ok=True)

    def stop(self) -> bool:
        """End the folder's cloud and all that belongs to it; False if there was none."""
        processes = self.processes()
        holder = self.holder()
        if holder is not None:
            os.kill(holder, signal.SIGTERM)
            patience = time.monotonic() + STOP_PATIENCE_S
            while self.holder() is not None:
                if time.monotonic() > patience:
                    os.kill(holder, signal.SIGKILL)
                    patience += STOP_PATIENCE_S
                time.sleep(POLL_S)
        self.wait_for_the_dead(processes)
        found = holder is not None or self.stack_file.exists()
        self.forget()
        return found

    def processes(self) -> dict[int, str]:
        """The pids of the cloud that runs here, or was killed here, with their births."""
        try:
            births: dict[str, str] = json.loads(self._processes_file.read_text())
        except FileNotFoundError:
            return {}
        return {int(pid): born for pid, born in births.items()}
