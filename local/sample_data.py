"""Something to sell: a concert, a class, an appointment with one chair, and a package that one couple books a date."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg

ZONE = ZoneInfo("Europe/Vienna")
CHAIR = UUID("c4a1f000-0000-4000-8000-000000000001")


@dataclass(frozen=True)
class Offering:
    """One row of the catalogue; amounts in minor units."""

    slug: str
    name: str
    kind: str
    unit_amount: int
    credits_price: int | None = None
    pay_on_arrival: bool = False
    add_ons: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Slot:
    """One sellable time of an offering."""

    offering: str
    starts_at: datetime
    minutes: int
    max_bookings: int
    max_units: int
    resource_id: UUID | None = None


OFFERINGS = (
    Offering(
        "autumn-concert", "Autumn concert", "ticket", 4500, add_ons=(("Programme", 600), ("Drink", 900))
    ),
    Offering("morning-yoga", "Morning yoga", "class", 1800, credits_price=1, pay_on_arrival=True),
    Offering("haircut", "Haircut", "appointment", 3900, pay_on_arrival=True),
    Offering("wedding-day", "Wedding day", "package", 480000),
)


def _days(today: date, *, weekdays: set[int], weeks: int) -> Iterator[date]:
    days = (today + timedelta(days=n) for n in range(1, weeks * 7 + 1))
    return (day for day in days if day.weekday() in weekdays)


def _slots(today: date) -> Iterator[Slot]:
    def at(day: date, hour: int, minute: int = 0) -> datetime:
        return datetime.combine(day, time(hour, minute), ZONE)

    yield Slot("autumn-concert", at(today + timedelta(days=30), 19, 30), 120, 120, 120)
    for day in _days(today, weekdays={1, 3}, weeks=8):
        yield Slot("morning-yoga", at(day, 9), 60, 12, 12)
    for day in _days(today, weekdays={0, 1, 2, 3, 4}, weeks=2):
        for hour in (9, 10, 11, 14, 15, 16):
            yield Slot("haircut", at(day, hour), 45, 1, 1, CHAIR)
    for day in _days(today, weekdays={5}, weeks=26):
        yield Slot("wedding-day", at(day, 10), 12 * 60, 1, 1)


def load(database_admin_url: str) -> None:
    """Puts the sample catalogue in, once; what is there already, and what was sold of it, stays as it is."""
    with psycopg.connect(database_admin_url) as conn:
        if conn.execute("SELECT 1 FROM offerings WHERE slug = %s", [OFFERINGS[0].slug]).fetchone():
            return
        for offering in OFFERINGS:
            conn.execute(
                """
                INSERT INTO offerings (slug, name, kind, unit_amount, currency, credits_price, timezone, pay_on_arrival)
                VALUES (%s, %s, %s, %s, 'eur', %s, %s, %s)
                """,
                [
                    offering.slug,
                    offering.name,
                    offering.kind,
                    offering.unit_amount,
                    offering.credits_price,
                    ZONE.key,
                    offering.pay_on_arrival,
                ],
            )
            for name, unit_amount in offering.add_ons:
                conn.execute(
                    """
                    INSERT INTO add_ons (offering_id, name, unit_amount)
                    SELECT id, %s, %s FROM offerings WHERE slug = %s
                    """,
                    [name, unit_amount, offering.slug],
                )
        for slot in _slots(datetime.now(UTC).astimezone(ZONE).date()):
            conn.execute(
                """
                INSERT INTO slots (offering_id, starts_at, ends_at, max_bookings, max_units, resource_id)
                SELECT id, %s, %s, %s, %s, %s FROM offerings WHERE slug = %s
                """,
                [
                    slot.starts_at,
                    slot.starts_at + timedelta(minutes=slot.minutes),
                    slot.max_bookings,
                    slot.max_units,
                    slot.resource_id,
                    slot.offering,
                ],
            )
