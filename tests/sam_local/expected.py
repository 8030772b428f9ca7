"""What each file in events/ is answered, and which function it is for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EVENTS = ROOT / "events"


@dataclass(frozen=True)
class Answer:
    """The HTTP status, none for what is no HTTP function, and what the body holds at least."""

    status: int | None
    body: Any

    def fits(self, given: Any) -> bool:
        """Whether a function's answer, as the runtime got it, is this one."""
        if self.status is None:
            return holds(self.body, given)
        return given.get("statusCode") == self.status and holds(self.body, given.get("body"))


EXPECTED: Mapping[str, Answer] = {
    "admin-credits-without-token": Answer(401, {"type": "/problems/unauthenticated"}),
    "admin-offering-without-token": Answer(401, {"type": "/problems/unauthenticated"}),
    "admin-stats-without-token": Answer(401, {"type": "/problems/unauthenticated"}),
    # Nobody has this reservation's token but who made the reservation.
    "bookings-on-arrival": Answer(404, {"type": "/problems/unknown-reservation"}),
    "check-promises": Answer(None, {"invariant_violations": 0, "invariants_unchecked": 0, "figures": dict}),
    "create-payment-intent": Answer(404, {"type": "/problems/unknown-reservation"}),
    # An error that an event of log-error has told about may be due, to a tracker that is none.
    "deliver-outbox": Answer(None, {"delivered": int, "retried": int, "dead": 0, "more": False}),
    "health-live": Answer(200, {"status": "live"}),
    "health-ready": Answer(200, {"database": {"reached": True, "migrations_current": True}}),
    "log-error": Answer(202, {"fingerprint": str, "occurrence_count": 1, "new": True}),
    "log-error-own-failure": Answer(None, {"fingerprint": str, "occurrence_count": 1, "new": True}),
    "migrate": Answer(None, {"applied": list, "current": str}),
    "reconcile-payments": Answer(None, {"applied": 0, "retried": 0, "dead": 0, "more": False}),
    "reservation-cleanup": Answer(
        None, {"released": 0, "confirmed": 0, "kept": 0, "failed": 0, "credits_expired": 0, "more": False}
    ),
    "reservations-hold": Answer(201, {"id": str, "token": str, "status": "active", "amount": 3600}),
    "reservations-offerings": Answer(200, {"offerings": list}),
    "reservations-slots": Answer(200, {"slots": [{"offering": "autumn-concert", "units_left": 120}]}),
    "seal-audit": Answer(None, {"sealed": int, "removed": 0, "head": str, "more": False}),
    "sessions-without-token": Answer(401, {"type": "/problems/unauthenticated"}),
    "stripe-webhook-unsigned": Answer(400, {"type": "/problems/invalid-signature"}),
    "webhook-inbox": Answer(None, {"batchItemFailures": []}),
}


def holds(wanted: Any, given: Any) -> bool:
    """Whether `given` is `wanted`, where a mapping may hold more, and a type stands for anything of that type."""
    if isinstance(wanted, type):
        return isinstance(given, wanted)
    if isinstance(wanted, dict) and isinstance(given, dict):
        return all(name in given and holds(value, given[name]) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(given, list):
        return len(wanted) == len(given) and all(holds(*pair) for pair in zip(wanted, given, strict=True))
    return wanted == given


def function_of(event: str, functions: Iterable[str]) -> str | None:
    """The function that an event's name begins with, the longest where there are several."""
    named = [name for name in functions if event == name or event.startswith(f"{name}-")]
    return max(named, key=len, default=None)


def missing(functions: Iterable[str], events: Iterable[str], expected: Iterable[str]) -> list[str]:
    """A sentence for each thing that has to be added before every function is invoked and its answer checked."""
    functions, events, expected = set(functions), set(events), set(expected)
    invoked = {function_of(event, functions) for event in events}
    return [
        *(
            f"{name} has no event: add events/{name}.json, a whole event as Lambda gets it"
            for name in sorted(functions - invoked)
        ),
        *(
            f"events/{event}.json is for no function of template.yaml: begin its name with one's"
            for event in sorted(events)
            if function_of(event, functions) is None
        ),
        *(
            f'events/{event}.json has no expected answer: add "{event}" to EXPECTED in tests/sam_local/expected.py'
            for event in sorted(events - expected)
        ),
        *(
            f'EXPECTED["{event}"] has no event: add events/{event}.json, or remove it'
            for event in sorted(expected - events)
        ),
    ]
