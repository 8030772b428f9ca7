"""The fault script: what goes wrong between a caller, Stripe and the webhook endpoint, on command."""

import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from local.stripe_emulator.storage import Storage

_METHODS = (None, "GET", "POST", "DELETE")
_LONGEST_DELAY_MS = 600_000
_LONGEST_WAIT_S = 30 * 86_400
_MOST_COPIES = 100
_MOST_TIMES = 10**9


class InvalidFaults(ValueError):
    """The fault script has an unknown field or a value of the wrong type; the message names it."""


@dataclass
class ResponseFault:
    """What happens to the next `times` requests that match `method` and `path` (None: any).

    `status` of 400 and above answers an error instead of working; `timeout_before` and `timeout_after` close
    the connection without an answer, before or after the work, whatever the status; `delay_ms` comes first. `probability` is that of striking a
    matching request; `times` counts the requests that were struck.
    """

    method: str | None = None
    path: str | None = None
    times: int = 1
    status: int | None = None
    timeout_before: bool = False
    timeout_after: bool = False
    delay_ms: int = 0
    probability: float = 1.0

    @property
    def error_status(self) -> int | None:
        """The status to answer instead of working."""
        lost = self.timeout_before or self.timeout_after
        return None if lost or self.status is None or self.status < 400 else self.status

    def matches(self, method: str, path: str) -> bool:
        """Whether the rule is about this request and has times left."""
        return self.times > 0 and self.method in (None, method) and self.path in (None, path)


@dataclass
class Faults:
    """How events are delivered, how far the search lags behind, and which requests go wrong.

    `settle_s` is how long a pending refund or debit takes to end by itself.
    """

    deliver: bool = True
    duplicate: int = 1
    shuffle_ms: int = 0
    drop: float = 0.0
    search_lag_s: float = 10
    settle_s: float = 3
    responses: list[ResponseFault] = field(default_factory=list[ResponseFault])

    def strike(self, method: str, path: str, chance: random.Random) -> ResponseFault | None:
        """The first rule that strikes this request, one time less than before."""
        for rule in self.responses:
            if rule.matches(method, path) and (rule.probability >= 1 or chance.random() < rule.probability):
                rule.times -= 1
                return rule
        return None

    def to_json(self) -> dict[str, Any]:
        """The script as its address answers it; a probability is named only where there is one."""
        document = asdict(self)
        for rule in document["responses"]:
            if rule["probability"] >= 1:
                del rule["probability"]
        return document


def parse_faults(document: object) -> Faults:
    """A whole fault script; what is left out takes its default.

    Raises InvalidFaults for an unknown field, a wrong type or a value out of range.
    """
    fields = _mapping(document, "the fault script", Faults)
    rules = fields.get("responses", [])
    if not isinstance(rules, list):
        raise InvalidFaults("responses must be a list")
    return Faults(
        deliver=_flag(fields, "deliver", True),
        duplicate=_whole(fields, "duplicate", 1, 1, _MOST_COPIES),
        shuffle_ms=_whole(fields, "shuffle_ms", 0, 0, _LONGEST_DELAY_MS),
        drop=_number(fields, "drop", 0.0, 1),
        search_lag_s=_number(fields, "search_lag_s", 10, 3600),
        settle_s=_number(fields, "settle_s", 3, _LONGEST_WAIT_S),
        responses=[_parse_rule(rule) for rule in cast("list[object]", rules)],
    )


def load_faults(storage: Storage) -> Faults:
    """The fault script as it stood when the process ended; nothing goes wrong where none was ever given."""
    row = storage.execute("SELECT body FROM faults").fetchone()
    return Faults() if row is None else parse_faults(json.loads(row[0]))


def save_faults(storage: Storage, faults: Faults) -> None:
    """Keep the fault script."""
    storage.execute(
        "INSERT OR REPLACE INTO faults (only_row, body) VALUES (1, ?)", (json.dumps(faults.to_json()),)
    )


def _parse_rule(document: object) -> ResponseFault:
    fields = _mapping(document, "a response", ResponseFault)
    method = _text(fields, "method")
    if method not in _METHODS:
        raise InvalidFaults("method must be GET, POST or DELETE")
    path = _text(fields, "path")
    if path is not None and ("?" in path or not path.startswith("/")):
        raise InvalidFaults("path must begin with / and have no query")
    return ResponseFault(
        method=method,
        path=path,
        times=_whole(fields, "times", 1, 0, _MOST_TIMES),
        status=None if fields.get("status") is None else _whole(fields, "status", 500, 0, 599),
        timeout_before=_flag(fields, "timeout_before", False),
        timeout_after=_flag(fields, "timeout_after", False),
        delay_ms=_whole(fields, "delay_ms", 0, 0, _LONGEST_DELAY_MS),
        probability=_number(fields, "probability", 1.0, 1),
    )


def _mapping(document: object, what: str, kind: type[Faults] | type[ResponseFault]) -> Mapping[str, object]:
    if not isinstance(document, dict):
        raise InvalidFaults(f"{what} must be an object")
    fields = cast("dict[str, object]", document)
    unknown = sorted(set(fields) - set(kind.__dataclass_fields__))
    if unknown:
        raise InvalidFaults(f"unknown field in {what}: {', '.join(unknown)}")
    return fields


def _flag(fields: Mapping[str, object], name: str, default: bool) -> bool:
    value = fields.get(name, default)
    if not isinstance(value, bool):
        raise InvalidFaults(f"{name} must be true or false")
    return value


def _whole(fields: Mapping[str, object], name: str, default: int, smallest: int, largest: int) -> int:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not smallest <= value <= largest:
        raise InvalidFaults(f"{name} must be an integer from {smallest} to {largest}")
    return value


def _number(fields: Mapping[str, object], name: str, default: float, largest: float) -> float:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= largest:
        raise InvalidFaults(f"{name} must be a number from 0 to {largest}")
    return value


def _text(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidFaults(f"{name} must be a string")
    return value
