"""What asks a program to end."""

import signal


def end_as_interrupted() -> None:
    """SIGTERM ends the program as SIGINT does, and both are heard: a background shell has SIGINT ignored.

    asyncio makes an orderly end of SIGINT alone: it cancels what runs. Raised by a handler of one's own, an exception comes
    between any two lines of the loop itself, and may be lost there.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
