"""Becomes a command that cannot outlive the process that started it.

Run as `python -I -S exec_child.py PARENT_PID DEATH_SIGNAL IDENTITY COMMAND...`. IDENTITY is `same`, `mapped` (seen
as nobody inside a user namespace of its own, while files stay ours) or `nobody` (root gives itself up for good).
A process of its own does this because a fork inside a program with threads may hang, and because a namespace can
only be entered while there is one thread.
"""

import ctypes  # now: nobody may not be allowed to read the interpreter's library
import os
import signal
import sys
from pathlib import Path

NOBODY = 65534
PR_SET_PDEATHSIG = 1
CANNOT_BECOME = 71


def map_to_nobody() -> None:
    """Enter a user namespace where we are called nobody."""
    uid_map, gid_map = f"{NOBODY} {os.geteuid()} 1", f"{NOBODY} {os.getegid()} 1"
    os.unshare(os.CLONE_NEWUSER)
    for name, content in (("uid_map", uid_map), ("setgroups", "deny"), ("gid_map", gid_map)):
        Path(f"/proc/self/{name}").write_text(content)


def die_with_parent(parent: int, death_signal: int) -> None:
    """Ask the kernel for a signal when the parent dies; see prctl(2), PR_SET_PDEATHSIG."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it died before the kernel knew what we want
        os._exit(0)


def main() -> None:
    """The command line."""
    parent, death_signal, identity, *command = sys.argv[1:]
    try:
        if identity == "mapped":
            map_to_nobody()
        elif identity == "nobody":
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        if sys.platform == "linux":  # after any change of identity, which would clear it again
            die_with_parent(int(parent), int(death_signal))
    except OSError as error:
        print(f"cannot run as {identity}: {error}", file=sys.stderr)
        sys.exit(CANNOT_BECOME)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the interpreter ignores it, and exec would hand that on
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is meant to be there
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


main()
