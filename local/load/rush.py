"""The rush: buyers who all mean it come one after the other in many queues, while pages report errors without a pause."""

import asyncio
import itertools
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from local.sale.buyers import Buyer, End
from local.sale.evidence import Finding
from local.sale.ledger import Ledger
from local.sale.script import Temper, write_script
from local.sale.stage import Stage
from local.verdicts import told_with

ALL_PAY = {Temper.PAYS: 1}
FLOODERS = 20
# Errors that everybody has, and between them one that nobody had before.
KINDS = 5
NEW_EVERY = 50
SAMPLES = 20
TELLS_EVERY_S = 5.0


@dataclass
class Rush:
    """So many buyers at a time for so many seconds; every one of them finds seats, and pays."""

    stage: Stage
    seed: str
    at_once: int
    seconds: float
    buyers: list[Buyer] = field(default_factory=list[Buyer])
    reports: Counter[str] = field(default_factory=Counter[str])
    took_s: float = 0.0

    def __post_init__(self) -> None:
        self.stage.sale.buyers = self.buyers
        self._numbers: Iterator[int] = itertools.count()
        self._ends_at = math.inf

    async def run(self) -> None:
        """Until time is over and the last buyer has left."""
        began = time.monotonic()
        self._ends_at = began + self.seconds
        title = f"{self.at_once} buyers at a time for {self.seconds:.0f} s, and {FLOODERS} pages that report errors all the time."
        sale = self.stage.sale
        async with (
            sale.programme.scene(title, self._so_far, every_s=TELLS_EVERY_S),
            asyncio.TaskGroup() as tasks,
        ):
            for _ in range(self.at_once):
                tasks.create_task(self._buyers_come())
            for _ in range(FLOODERS):
                tasks.create_task(self._errors_come())
        self.took_s = time.monotonic() - began
        await sale.everything_arrives()

    async def _buyers_come(self) -> None:
        while time.monotonic() < self._ends_at:
            script = write_script(self.seed, next(self._numbers), tempers=ALL_PAY)
            buyer = Buyer(replace(script, wish="concert"), self.stage.sale.crowd)
            self.buyers.append(buyer)
            await buyer.come()

    async def _errors_come(self) -> None:
        shop = self.stage.sale.crowd.shop
        for number in itertools.count():
            if time.monotonic() >= self._ends_at:
                return
            name = (
                f"a new one {id(self)} {next(self._numbers)}"
                if number % NEW_EVERY == 0
                else f"kind {number % KINDS}"
            )
            report = {"message": "the page broke", "severity": "warning", "fingerprint": [name]}
            answer = await shop.report(report)
            if answer.kind == "202":
                self.reports[answer.body["fingerprint"]] += 1

    def _so_far(self) -> str:
        booked = sum(buyer.end is End.BOOKED for buyer in self.buyers)
        return f"{len(self.buyers)} buyers, {booked} booked, {self.reports.total()} errors reported"


def rush_findings(rush: Rush, ledger: Ledger, database_admin_url: str) -> list[Finding]:
    """What a rush must not do to anybody: lose a sale, or miscount."""
    return [
        _no_sale_is_lost(rush, ledger),
        _seats_are_counted(rush, ledger),
        _errors_are_counted(rush, database_admin_url),
    ]


def _no_sale_is_lost(rush: Rush, ledger: Ledger) -> Finding:
    """There were seats for everybody, and everybody had a card that works."""
    lost = [
        f"{buyer.email}: {buyer.end}"
        for buyer in rush.buyers
        if not buyer.charged or buyer.reservation_id not in ledger.bookings
    ]
    return Finding(
        "no sale is lost",
        f"{len(rush.buyers)} buyers",
        f"{len(ledger.bookings)} bookings",
        f"{sum(ledger.received.values())} cents received",
        told_with(f"{len(rush.buyers) - len(lost)} have what they came for", lost),
        not lost,
    )


def _seats_are_counted(rush: Rush, ledger: Ledger) -> Finding:
    sold = rush.stage.sale.counts["seats sold"]
    taken = sum(
        buyer.script.party
        for buyer in rush.buyers
        if buyer.reservation and buyer.reservation_id in ledger.bookings
    )
    return Finding(
        "as many seats are sold as were bought",
        f"{sold} seats",
        f"{sold} are sold",
        "",
        f"{taken} were bought",
        sold == taken,
    )


def _errors_are_counted(rush: Rush, database_admin_url: str) -> Finding:
    """As often as a report was accepted, by the error that it was accepted as."""
    with psycopg.connect(database_admin_url) as conn:
        counted: dict[str, int] = dict(
            conn.execute(
                "SELECT fingerprint, occurrence_count FROM error_groups WHERE title = 'the page broke'"
            ).fetchall()
        )
        kept = [
            samples for (samples,) in conn.execute("SELECT count(*) FROM error_logs GROUP BY fingerprint")
        ]
    wrong = [
        f"{name}: {counted.get(name, 0)} of {rush.reports[name]}"
        for name in sorted(rush.reports.keys() | counted.keys())
        if counted.get(name, 0) != rush.reports[name]
    ]
    wrong += [f"{samples} samples of one error are kept" for samples in kept if samples > SAMPLES]
    return Finding(
        "every error is counted",
        f"{rush.reports.total()} reports",
        told_with(f"{sum(counted.values())} times in {len(counted)} groups, {sum(kept)} samples kept", wrong),
        "",
        f"{rush.reports.total()} reports were accepted",
        not wrong,
    )


def figures(rush: Rush) -> dict[str, Any]:
    """How much that was, and how long each call took the one who waited."""
    shop = rush.stage.sale.crowd.shop
    booked = sum(buyer.end in (End.BOOKED, End.PAID) for buyer in rush.buyers)
    return {
        "buyers at a time / in all": f"{rush.at_once} / {len(rush.buyers)}",
        "sales": f"{booked}, {booked / rush.took_s:.1f} a second",
        "errors reported": f"{rush.reports.total()}, {rush.reports.total() / rush.took_s:.1f} a second",
        **{
            f"{call}: calls, p50 / p95 / p99": f"{len(taken)}, {' / '.join(_percentiles(taken))} ms"
            for call, taken in sorted(shop.milliseconds.items())
        },
    }


def _percentiles(milliseconds: Sequence[float]) -> list[str]:
    ordered = sorted(milliseconds)
    return [f"{ordered[min(len(ordered) - 1, int(len(ordered) * share))]:.0f}" for share in (0.5, 0.95, 0.99)]
