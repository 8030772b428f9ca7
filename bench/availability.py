"""What is on sale, read out of a hundred slots of an offering and out of a million: a page costs the same."""

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg

from bench.figures import Aim, Figure, Spread
from bench.shop import Shop
from bench.stand import ROOT, Stand
from bench.warm import timed
from functions.migrate.service import apply_migrations
from local.postgres import SUPERUSER

FEW, MANY = "bench_few_slots", "bench_many_slots"
A_PAGE = 100
LASTS = timedelta(minutes=10)
AIM = Aim("at most", 1.25)
WARM_UP = 5


async def measure(stand: Stand, slots: int, calls: int) -> list[Figure]:
    """`calls` of a page from now on and of one half way to the last slot, one in each database after the other.

    Half of the many slots are over.
    """
    numbers = {FEW: (0, A_PAGE), MANY: (-slots // 2, slots - slots // 2)}
    for name in numbers:
        await asyncio.to_thread(apply_migrations, stand.postgres.create_database(name), ROOT / "migrations")
    shops = {name: Shop(stand, name) for name in numbers}
    runtimes = {name: stand.runtime(name) for name in numbers}
    try:
        for name, shop in shops.items():
            await asyncio.to_thread(_fill, stand.postgres.url(SUPERUSER, name), shop.offering, *numbers[name])
        figures: list[Figure] = []
        for page, skipped in (("first page", 0), ("page half way", slots // 4)):
            taken: dict[str, list[float]] = {name: [] for name in numbers}
            for number in range(-WARM_UP, calls):
                for name, shop in shops.items():
                    ahead = LASTS * skipped if name == MANY else timedelta(0)
                    event = shop.slots_event(since=datetime.now(UTC) + ahead)
                    ms = await timed(runtimes[name], stand, "reservations", event)
                    if number >= 0:
                        taken[name].append(ms)
            figures.append(
                Figure(
                    "slots of an offering",
                    f"availability, {page}",
                    "ms",
                    Spread.of(taken[MANY]),
                    f"the same out of {A_PAGE} slots",
                    Spread.of(taken[FEW]),
                    AIM,
                    statistic="p95",
                    note=f"{slots:,} slots of one offering, half of them over; a page is {A_PAGE}",
                )
            )
    finally:
        for shop in shops.values():
            shop.close()
        for runtime in runtimes.values():
            await runtime.close()
    return figures


def _fill(url: str, offering: str, first: int, last: int) -> None:
    """Slots one after the other; slot 0 begins now."""
    with psycopg.connect(url, autocommit=True) as conn:
        # Without triggers: the audit of slots that nobody made is not what is measured.
        conn.execute("SET session_replication_role = replica")
        conn.execute(
            "INSERT INTO slots (offering_id, starts_at, ends_at, max_bookings, max_units)"
            " SELECT id, now() + n * %s, now() + (n + 1) * %s, 100, 100"
            " FROM generate_series(%s::integer, %s) n, offerings WHERE slug = %s",
            [LASTS, LASTS, first, last, offering],
        )
        conn.execute("VACUUM (ANALYZE) slots")
        conn.execute("CHECKPOINT")
