"""Where connections to the database are cut: at every boundary of every batch once, then wherever chance has it."""

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random

from local.breakage.wire import Batch
from local.paths import ROOT

SQL_FUNCTIONS = ROOT / "migrations/functions"
# The acts of a sale, by the SQL function that a batch of theirs calls.
ACTS: Mapping[str, str] = {
    "hold": "reserve_tickets",
    "pay, before Stripe": "begin_payment",
    "pay, after Stripe": "record_payment",
    "cancel": "begin_close",
    "close, after Stripe": "finish_close",
    "webhook, claim": "claim_webhook_event",
    "webhook, effects and COMMIT": "confirm_hold",
    "settle, lock": "lock_payment",
    "late money": "seat_again_or_refund",
    "book by other means": "book_reservation",
    "move a booking": "reschedule_booking",
    "cancel a booking": "cancel_booking",
    "refund a booking": "refund_booking",
    "grant credits": "grant_credits",
    "change a schedule": "refresh_future_schedule",
    "cleanup, unpaid": "cleanup_expired_reservations",
    "cleanup, paid": "claim_payments_to_close",
    "outbox, claim": "claim_outbox",
    "outbox, notified": "settle_outbox",
    "refund, recorded": "save_refund",
    "reconcile, events": "begin_event_list",
    "reconcile, payments": "claim_payments_to_ask",
    "end of a run": "finish_job",
}
MOST_IN_A_ROW = 2  # cuts where none was before; then a batch passes, so that whoever tries again gets on
PAUSE_S = (0.1, 0.6)  # between two cuts of what has been cut before


def sql_functions() -> frozenset[str]:
    """The names of the functions that the migrations define."""
    texts = [file.read_text() for file in SQL_FUNCTIONS.glob("*.sql")]
    return frozenset(name for text in texts for name in re.findall(r"FUNCTION (\w+)\s*\(", text))


@dataclass
class CutPlan:
    """Which batches are cut, and where.

    A cut at boundary n of a batch: the server gets its first n statements, and the client no answer. 0 is a request
    that never arrived; the last one is work that was done, and committed, and whose answer was lost.
    """

    random: Random
    cuts: Counter[tuple[tuple[str, ...], int]] = field(default_factory=Counter[tuple[tuple[str, ...], int]])
    shapes: set[tuple[str, ...]] = field(default_factory=set[tuple[str, ...]])
    enabled: bool = False
    _in_a_row: Counter[tuple[str, ...]] = field(default_factory=Counter[tuple[str, ...]])
    _next_at: float = 0.0

    def boundary(self, batch: Batch) -> int | None:
        """After how many statements of this batch its connection is cut; None: it is not."""
        self.shapes.add(batch.steps)
        if not self.enabled:
            return None
        counts = [self.cuts[batch.steps, place] for place in range(len(batch.steps) + 1)]
        fewest = min(counts)
        if fewest == 0 and self._is_an_act(batch.steps):
            self._in_a_row[batch.steps] += 1
            if self._in_a_row[batch.steps] > MOST_IN_A_ROW:
                self._in_a_row[batch.steps] = 0
                return None
        elif time.monotonic() < self._next_at:
            return None
        place = self.random.choice([place for place, count in enumerate(counts) if count == fewest])
        self.cuts[batch.steps, place] += 1
        self._next_at = time.monotonic() + self.random.uniform(*PAUSE_S)
        return place

    async def admit(self) -> None:
        """Nobody waits."""

    def by_act(self) -> dict[str, tuple[int, int, int]]:
        """Of each act: boundaries that were cut, boundaries that there are, cuts."""
        return {
            act: self._count(shape for shape in self.shapes if _calls(shape, name))
            for act, name in ACTS.items()
        }

    def uncut(self) -> list[str]:
        """The acts of which no batch was cut at each of its boundaries."""
        whole = [
            shape for shape in self.shapes if all(self.cuts[shape, place] for place in range(len(shape) + 1))
        ]
        return [act for act, name in ACTS.items() if not any(_calls(shape, name) for shape in whole)]

    def to_json(self) -> list[dict[str, object]]:
        """Each batch that passed, and how often it was cut after so many of its statements."""
        return [
            {"batch": list(shape), "cuts": [self.cuts[shape, place] for place in range(len(shape) + 1)]}
            for shape in sorted(self.shapes)
        ]

    def _count(self, shapes: Iterable[tuple[str, ...]]) -> tuple[int, int, int]:
        places = [self.cuts[shape, place] for shape in shapes for place in range(len(shape) + 1)]
        return sum(count > 0 for count in places), len(places), sum(places)

    @staticmethod
    def _is_an_act(shape: tuple[str, ...]) -> bool:
        return any(_calls(shape, name) for name in ACTS.values())


def _calls(shape: tuple[str, ...], function: str) -> bool:
    return any(function in step.split() for step in shape)
