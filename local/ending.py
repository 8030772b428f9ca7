"""How a command ends that has a cloud to itself: in order, whatever asks it to."""

import signal
import sys
from collections.abc import Callable

from local.errors import CannotStart

INTERRUPTED = 130


def exit_status(main: Callable[[], int]) -> int:
    """Runs the command; 1 with the line that says why where its cloud cannot start, 130 where it is interrupted.

    SIGTERM interrupts it as SIGINT does, and both are heard: a background shell has SIGINT ignored. asyncio makes an
    orderly end of SIGINT alone: it cancels what runs. Raised by a handler of one's own, an exception comes between any two
    lines of the loop itself, and may be lost there.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    try:
        return main()
    except CannotStart as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the cloud is down", file=sys.stderr)
        return INTERRUPTED
