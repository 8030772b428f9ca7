"""What the database has of bookings, credits and the catalogue during a run, and what of it may never be."""

from collections.abc import Sequence
from dataclasses import dataclass

from local.simulation.database_side import OFFERINGS, DatabaseSide

ALL = 100
POLICY = "48h:100%,24h:50%"


@dataclass(frozen=True)
class BookingRow:
    """A booking as its row is; `percent` of its price go back to who cancels now, by POLICY."""

    id: str
    version: int
    status: str
    amount: int
    credits: int
    user_id: str | None
    percent: int
    items: Sequence[str]


@dataclass(frozen=True)
class TimeOfTheDay:
    """A slot of the scheduled day; `room` and what is `used` of it are bookings and units."""

    id: str
    hour: int
    is_legacy: bool
    room: tuple[int, int]
    used: tuple[int, int]


@dataclass
class BookingRecords:
    """Read by the owner's connection, beside the functions; `scheduled` is the offering that has a schedule."""

    database: DatabaseSide
    scheduled: str = OFFERINGS[0][0]

    async def booking_of(self, reservation_id: str) -> BookingRow | None:
        """What was booked of a hold, if anything was."""
        rows = await self.database.rows(
            """
            SELECT b.id::text, b.version, b.status, b.amount, b.credits, b.user_id,
                   least(b.refundable_percent, CASE WHEN min(s.starts_at) > now() + interval '48 hours' THEN 100
                         WHEN min(s.starts_at) > now() + interval '24 hours' THEN 50 ELSE 0 END),
                   array_agg(i.id::text ORDER BY i.id)
            FROM bookings b JOIN booking_items i ON i.booking_id = b.id JOIN slots s ON s.id = i.slot_id
            WHERE b.reservation_id = %s GROUP BY b.id
            """,
            [reservation_id],
        )
        return BookingRow(*rows[0]) if rows else None

    async def offering_version(self) -> int:
        """Of the offering whose price changes."""
        ((version,),) = await self.database.rows(
            "SELECT version FROM offerings WHERE slug = %s", [self.scheduled]
        )
        return version

    async def legacy(self, slots: Sequence[str]) -> set[str]:
        """Those of the slots that are left over from an older schedule."""
        rows = await self.database.rows(
            "SELECT id::text FROM slots WHERE id = ANY (%s::uuid[]) AND is_legacy", [list(slots)]
        )
        return {row[0] for row in rows}

    async def times_of_the_day(self) -> list[TimeOfTheDay]:
        """The scheduled offering's slots of that day, the oldest first."""
        rows = await self.database.rows(
            """
            SELECT s.id::text, extract(hour FROM s.starts_at AT TIME ZONE 'UTC')::integer, s.is_legacy,
                   s.max_bookings, s.max_units, s.held_bookings + s.sold_bookings, s.held_units + s.sold_units
            FROM slots s JOIN offerings o ON o.id = s.offering_id
            WHERE o.slug = %s AND (s.starts_at AT TIME ZONE 'UTC')::date = %s ORDER BY s.created_at
            """,
            [self.scheduled, self.database.day],
        )
        return [TimeOfTheDay(row[0], row[1], row[2], (row[3], row[4]), (row[5], row[6])) for row in rows]

    async def expire_credits(self, pick: float) -> None:
        """The time of one grant is over."""
        await self.database.rows(
            """
            UPDATE credit_grants SET expires_at = now() WHERE id = (
                SELECT id FROM credit_grants WHERE remaining > 0 AND expires_at > now()
                ORDER BY created_at OFFSET floor(%s * (
                    SELECT count(*) FROM credit_grants WHERE remaining > 0 AND expires_at > now())) LIMIT 1)
            """,
            [pick],
        )

    async def granted(self) -> dict[str, int]:
        """By its reason, how many credits each grant, or each that was taken away, has moved."""
        rows = await self.database.rows("""
            SELECT reason, sum(delta)::integer FROM credit_entries WHERE kind IN ('grant', 'deduct') GROUP BY reason""")
        return dict(rows)

    async def booked_otherwise(self) -> set[str]:
        """The holds that were booked by other means than a payment."""
        rows = await self.database.rows("SELECT reservation_id::text FROM bookings WHERE payment_id IS NULL")
        return {row[0] for row in rows}

    async def violations(self) -> list[str]:
        """What may never be of bookings and credits, beside the rows of invariant_violations."""
        rows = await self.database.rows("""
            WITH lines AS (
                SELECT i.booking_id, sum(i.units * i.unit_amount) AS amount, sum(i.units * i.credits_price) AS credits
                FROM booking_items i GROUP BY i.booking_id
            )
            SELECT 'credits are never below zero', u.user_id, format('%s, %s of a grant', u.balance, g.remaining)
            FROM user_credits u LEFT JOIN credit_grants g USING (user_id) WHERE u.balance < 0 OR g.remaining < 0
            UNION ALL
            SELECT 'a booking costs what its hold said', b.id::text,
                   format('%s and %s credits for lines of %s and %s', b.amount, b.credits, l.amount, l.credits)
            FROM bookings b JOIN lines l ON l.booking_id = b.id JOIN ticket_reservations r ON r.id = b.reservation_id
            WHERE r.amount <> l.amount
               OR (b.amount, b.credits::bigint) IS DISTINCT FROM CASE WHEN b.payment_method = 'credits'
                   THEN (0::bigint, l.credits) ELSE (r.amount, 0::bigint) END
            UNION ALL
            SELECT 'a hold is booked by other means, or paid', b.reservation_id::text, format('%s of %s stay',
                   p.captured_amount - coalesce(f.due, 0), p.captured_amount)
            FROM bookings b
            JOIN payment_intents_log p ON p.reservation_id = b.reservation_id AND p.captured_amount > 0
            LEFT JOIN (
                SELECT payment_id, sum(amount) FILTER (WHERE status <> 'canceled') AS due FROM refunds GROUP BY payment_id
            ) f ON f.payment_id = p.id
            WHERE b.payment_id IS NULL AND p.captured_amount > coalesce(f.due, 0)
              AND NOT EXISTS (SELECT FROM disputes d WHERE d.payment_id = p.id AND d.standing IN ('open', 'lost'))
        """)
        return [f"{name}: {subject} {detail}" for name, subject, detail in rows]
