"""What the functions write to standard output: JSON lines of the log, and metrics (EMF)."""

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from runtime.observability import logger


class _StandardOutput:
    """Whatever standard output is at the moment of writing."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


class Logs:
    """All that was written since the test began, or since `clear`."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture
        self._text = self._errors = ""

    @property
    def text(self) -> str:
        self._read()
        return self._text

    @property
    def errors(self) -> str:
        """What went to standard error, which Lambda keeps beside the log."""
        self._read()
        return self._errors

    def _read(self) -> None:
        captured = self._capture.readouterr()
        self._text += captured.out
        self._errors += captured.err

    def clear(self) -> None:
        self._read()
        self._text = self._errors = ""

    def _documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def lines(self, *levels: str) -> list[dict[str, Any]]:
        """The lines of the log, of these levels if any are named."""
        return [
            line for line in self._documents() if "level" in line and (not levels or line["level"] in levels)
        ]

    def metrics(self) -> list[dict[str, Any]]:
        """The metrics of each invocation."""
        return [line for line in self._documents() if "_aws" in line]

    def counted(self) -> set[str]:
        """The names of everything that was counted."""
        return {
            metric["Name"]
            for document in self.metrics()
            for directive in document["_aws"]["CloudWatchMetrics"]
            for metric in directive["Metrics"]
        }


@contextmanager
def capturing(capture: pytest.CaptureFixture[str]) -> Generator[Logs]:
    """Both doors by which lines leave, the logger's handler and print, lead to the capture."""
    handler: Any = logger.registered_handler
    before = handler.setStream(_StandardOutput())
    try:
        yield Logs(capture)
    finally:
        handler.setStream(before)
