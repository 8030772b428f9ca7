"""awslambdaric, with a clock that is off by as many seconds as the file CLOCK_SHIFT_FILE says, looked up at each event.

Run as a program in awslambdaric's stead, where CLOCK_SHIFT_FILE is given to a function of this machine's cloud. Only the
wall clock is off; what the platform says in its terms, the deadline, is off with it.
"""

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import time_machine
from awslambdaric import __main__ as runtime_client
from awslambdaric import bootstrap


class Clock:
    """This process's wall clock."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seconds = 0
        self._travel: time_machine.travel | None = None

    def adjust(self) -> int:
        """Set it off by what the file says now, in seconds; without a file it is right."""
        try:
            seconds = int(self._file.read_text())
        except (FileNotFoundError, ValueError):
            seconds = 0
        if seconds != self._seconds:
            if self._travel:
                self._travel.stop()
            self._travel = None
            if seconds:
                self._travel = time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds), tick=True)
                self._travel.start()
            self._seconds = seconds
        return seconds


def main() -> None:
    """Serve events until the platform ends the process; refused anywhere but on this machine."""
    if os.environ.get("ENVIRONMENT") != "local":
        sys.exit("a clock is set off in the local stack alone")
    clock = Clock(Path(os.environ["CLOCK_SHIFT_FILE"]))
    client: Any = bootstrap  # the package is untyped
    context_of = client.create_lambda_context

    def shifted(caller: Any, identity: Any, deadline_ms: Any, *more: Any) -> Any:
        return context_of(caller, identity, int(deadline_ms) + clock.adjust() * 1000, *more)

    client.create_lambda_context = shifted
    runtime_client.main(sys.argv)  # pyright: ignore[reportUnknownMemberType] - as above


if __name__ == "__main__":
    main()
