"""Values that nobody else uses, by which the place is known where something secret or personal has come out."""

import gzip
import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from tests.support.app import App
from tests.support.receiver import Receiver

# The name of what was found, and where.
type Findings = set[tuple[str, str]]

IDS = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b(evt|pi|cs|re|error-v1)[_-][\w-]+|v1:[0-9a-f]{64}",
    re.IGNORECASE,
)


class Canaries:
    """Named values, and where they were found."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = list(values.items())

    def learn(self, name: str, value: str) -> str:
        """One more, which the functions themselves have made; several may have a name."""
        self._values.append((name, value))
        return value

    def found(self, place: str, text: str) -> Findings:
        """Which of them the text has, in whatever case, and as JSON, a URL or a header would write them."""
        text = text.lower()
        return {
            (name, place)
            for name, value in self._values
            if any(written.lower() in text for written in _notations(value))
        }


def _notations(value: str) -> set[str]:
    return {value, quote(value), quote(value, safe=""), json.dumps(value)[1:-1], value.replace(" ", "")}


def columns(app: App) -> Iterable[tuple[str, str]]:
    """Every column of every table as `table.column`, and all that stands in it."""
    for table, column in app.rows(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
    ):
        for (text,) in app.rows(f'SELECT string_agg("{column}"::text, chr(10)) FROM "{table}"'):
            yield f"{table}.{column}", text or ""


def sent_to(receiver: Receiver) -> str:
    """All that was sent there: lines, headers and bodies."""
    return "\n".join(
        f"{each.path} {json.dumps(each.headers)} {_plain(each.body)}" for each in receiver.received
    )


def _plain(body: bytes) -> str:
    return (gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).decode()
