"""The same acts in an empty database and in one that has seen years of trade: none may be slower for it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench.figures import Aim, Figure, Spread
from bench.shop import Shop
from bench.stand import ROOT, Stand
from bench.warm import ACTS, NotAnswered, timed
from functions.migrate.service import apply_migrations
from local.postgres import SUPERUSER

SMALL, LARGE = "bench_small", "bench_large"
AIM = Aim("at most", 1.25)
WARM_UP = 5
# An act that takes seconds is measured less often.
PATIENCE_S = 40.0
WHY = "random keys fall on pages of large indexes that are seldom in the buffers"


@dataclass(frozen=True)
class Size:
    """How many rows the large database has."""

    events: int
    holds: int
    slots: int

    def __str__(self) -> str:
        return f"{self.events:,} events, {self.holds:,} holds, {self.slots:,} slots"


EVENTS: dict[str, tuple[str, Callable[[Shop], bytes]]] = {
    **{act.name: (act.function, act.event) for act in ACTS},
    "availability": ("reservations", Shop.slots_event),
    "/stats": ("admin", Shop.stats_event),
}


async def measure(stand: Stand, size: Size, calls: int) -> list[Figure]:
    """`calls` of each act, one in each database after the other."""
    await asyncio.to_thread(_fill, stand, size)
    names = (SMALL, LARGE)
    runtimes = {name: stand.runtime(name) for name in names}
    shops = {name: Shop(stand, name) for name in names}
    figures: list[Figure] = []
    try:
        for name in names:
            await timed(runtimes[name], stand, "check-promises", b"{}")  # as every five minutes
        for act, (function, event) in EVENTS.items():
            taken: dict[str, list[float]] = {name: [] for name in names}
            refused = 0
            began = time.monotonic()
            for number in range(-WARM_UP, calls):
                if taken[LARGE] and time.monotonic() - began > PATIENCE_S:
                    break
                for name in names:
                    asked_for, asked_at = event(shops[name]), time.perf_counter()
                    try:
                        ms = await timed(runtimes[name], stand, function, asked_for)
                    except NotAnswered as failure:
                        if "database-unavailable" not in str(failure):
                            raise
                        # Not within the time that a statement has.
                        ms = (time.perf_counter() - asked_at) * 1000
                        refused += 1
                    if number >= 0:
                        taken[name].append(ms)
            figures.append(
                Figure(
                    "size of the tables",
                    act,
                    "ms",
                    Spread.of(taken[LARGE]),
                    "the same with empty tables",
                    Spread.of(taken[SMALL]),
                    AIM,
                    statistic="p95",
                    note=f"{size}; {refused} of {len(taken[LARGE])} not answered" if refused else str(size),
                    why=WHY,
                )
            )
    finally:
        for shop in shops.values():
            shop.close()
        for runtime in runtimes.values():
            await runtime.close()
    return figures


def _fill(stand: Stand, size: Size) -> None:
    for name in (SMALL, LARGE):
        apply_migrations(stand.postgres.create_database(name), ROOT / "migrations")
    with psycopg.connect(stand.postgres.url(SUPERUSER, LARGE), autocommit=True) as conn:
        for setting in ("events", "holds", "slots"):
            conn.execute(
                "SELECT set_config(%s, %s, false)", [f"bench.{setting}", str(getattr(size, setting))]
            )
        conn.execute("SET maintenance_work_mem = '512MB'")
        conn.execute((Path(__file__).with_name("large.sql")).read_bytes())
        conn.execute("RESET session_replication_role")
        conn.execute("VACUUM (ANALYZE)")
        conn.execute("CHECKPOINT")
    with psycopg.connect(stand.postgres.url(SUPERUSER, SMALL), autocommit=True) as conn:
        conn.execute("VACUUM (ANALYZE)")
