"""Starts the cloud's processes, and says whether one of them still lives."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Literal

type Identity = Literal["same", "mapped", "nobody"]
type Output = int | IO[bytes]

LAUNCHER = Path(__file__).with_name("exec_child.py")
# Below the range that the kernel hands out to outgoing connections: a service that was killed must find its port
# free when it is started again.
PORTS = range(20_000, 32_000)
PR_SET_CHILD_SUBREAPER = 36
# Some interpreters find their own library by it alone, and every command is started by one.
INTERPRETER_NEEDS = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
_spawned: set[int] = set()
_claimed_ports: set[int] = set()


def bound_command(
    command: Sequence[str], *, death_signal: signal.Signals = signal.SIGKILL, identity: Identity = "same"
) -> list[str]:
    """The command line that runs `command` until this process dies; then it gets `death_signal`."""
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER)]
    return [*launcher, str(os.getpid()), str(int(death_signal)), identity, *command]


def spawn(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    output: Output,
    death_signal: signal.Signals = signal.SIGKILL,
    identity: Identity = "same",
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that the terminal's Ctrl-C reaches us alone.

    Only to be called from a thread that lives as long as the process shall: Linux sends the death signal when the
    starting thread ends (prctl(2), PR_SET_PDEATHSIG).
    """
    process = subprocess.Popen(
        bound_command(command, death_signal=death_signal, identity=identity),
        env=INTERPRETER_NEEDS | dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    _spawned.add(process.pid)
    return process


def free_port(preferred: int | None = None) -> int:
    """`preferred` where nothing listens there, else a port of 127.0.0.1 where nothing does.

    Between this look and the service's own bind others may look too. So the datagram socket of the same number is held
    as long as this process lives: no two of our processes are given one port.
    """
    start = os.getpid() * 37 % len(PORTS)
    candidates = [preferred] if preferred else []
    for port in [*candidates, *PORTS[start:], *PORTS[:start]]:
        is_ours = port in _claimed_ports
        if is_ours and port != preferred:
            continue
        with socket.socket() as probe, socket.socket(type=socket.SOCK_DGRAM) as claim:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                if not is_ours:
                    claim.bind(("127.0.0.1", port))
            except OSError:
                continue
            if not is_ours:
                _claimed_ports.add(port)
                claim.detach()
            return port
    raise RuntimeError("no free port on 127.0.0.1")


def birth(pid: int) -> str | None:
    """When `pid` was started, in the kernel's ticks: with it a pid names one process for ever. None: not alive.

    A zombie is not alive: it only waits for its parent.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in b"ZX" else fields[19].decode()


def adopt_orphans() -> None:
    """Make this process the parent of its children's orphans, so that `reap_orphans` can let them go."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans() -> None:
    """Take leave of dead processes whose own parent was killed, such as a killed PostgreSQL's workers.

    Only to be called while every child of this process was started by `spawn`.
    """
    while True:
        try:
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if dead is None:
            return
        if dead.si_pid in _spawned:
            return  # whoever started it will ask for its status
        os.waitpid(dead.si_pid, 0)
