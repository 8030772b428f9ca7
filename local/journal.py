"""What happens in the cloud: one line an invocation on the terminal, everything in files of JSON lines.

Writing happens in a thread of its own, so that a slow disk or terminal holds no invocation up.
"""

import contextlib
import json
import sys
import threading
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TextIO

PAUSE_S = 0.05  # woken for each line, the thread would take the interpreter from the event loop far too often


class Journal:
    """Takes lines from the event loop; `close` waits until all of them are written."""

    def __init__(self, folder: Path, terminal: TextIO | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._terminal = terminal if terminal is not None else sys.stdout
        self._lines: deque[tuple[str | None, str | Mapping[str, object]]] = deque()
        self._files: dict[str, IO[str]] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    def say(self, text: str) -> None:
        """A line for the terminal."""
        self._lines.append((None, text))

    def log(self, function: str, line: str | Mapping[str, object]) -> None:
        """A line for the function's file: what it wrote, or what the platform has to say about it."""
        self._lines.append((function, line))

    def invocation(
        self, function: str, *, what: str, status: str, ms: float, start: str, happened: str
    ) -> None:
        """The terminal's line for one invocation."""
        time = datetime.now().astimezone().strftime("%H:%M:%S")
        self.say(f"{time} {function:<22} {what:<28} {status} {ms:6.0f} ms {start:<4} {happened}".rstrip())

    def close(self) -> None:
        """Write what is left, then close the files."""
        self._closing.set()
        self._thread.join()
        for file in self._files.values():
            file.close()

    def _write(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(PAUSE_S)
            touched: set[IO[str]] = set()
            while self._lines:
                function, line = self._lines.popleft()
                file = self._terminal if function is None else self._file(function)
                file.write((str(line) if function is None else _as_json(function, line)) + "\n")
                touched.add(file)
            for file in touched:
                with contextlib.suppress(
                    OSError
                ):  # nobody reads any more, or the disk is full: the cloud goes on
                    file.flush()

    def _file(self, function: str) -> IO[str]:
        if function not in self._files:
            self._files[function] = (self.folder / f"{function}.jsonl").open("a", encoding="utf-8")
        return self._files[function]


def _as_json(function: str, line: str | Mapping[str, object]) -> str:
    """A JSON object as it was written; any other text in an object of its own."""
    if isinstance(line, str) and line.startswith("{") and line.endswith("}"):
        try:
            json.loads(line)
        except ValueError:
            pass
        else:
            return line
    wrapped = {"timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"), "function": function}
    return json.dumps(
        wrapped | ({"message": line} if isinstance(line, str) else dict(line)), ensure_ascii=False
    )
