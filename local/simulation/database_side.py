"""What time and operators do with the database during a run, and what is read from it, beside the functions."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from local.postgres import SUPERUSER

# Units and bookings of each slot. The first three are one offering's, one after the other on one day; the fourth is sold
# in reais, where vouchers are to be had; the last costs nothing.
SLOTS = ((3, 3), (3, 2), (1, 1), (4, 3), (2, 2))
OFFERINGS = (("simulated", "eur", 4500, 1), ("simulado", "brl", 4500, None), ("gratis", "eur", 0, None))
OFFERING_OF = (0, 0, 0, 1, 2)
DAYS_AHEAD = 60
FIRST_HOUR = 9
MOST_HOLDS = 5
KEPT = ("schema_migrations", "offerings", "add_ons", "audit_key")
STRIPE_TABLES = ("objects", "search_index", "deliveries", "pending", "idempotency_keys")


@dataclass
class DatabaseSide:
    """The owner's one connection, made again where the server was killed; and Stripe's own file.

    `day` is the day of a run's slots, in UTC: a run that goes on past midnight keeps it.
    """

    database_admin_url: str
    stripe_file: Path
    day: date = field(init=False)
    _connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None

    async def rows(self, query: LiteralString, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """One statement, one commit."""
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(self.database_admin_url, autocommit=True)
        cursor = await self._connection.execute(query, params or None)
        return await cursor.fetchall() if cursor.description else []

    async def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            await self._connection.close()

    async def started_at(self) -> datetime | None:
        """Since when the server runs; None while there is none."""
        try:
            return (await self.rows("SELECT pg_postmaster_start_time()"))[0][0]
        except psycopg.OperationalError:
            return None

    async def wipe(self) -> None:
        """An empty shop and an empty Stripe account: what no function may do, nor any operator."""
        names = await self.rows("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
        url = make_conninfo(self.database_admin_url, user=SUPERUSER)
        async with await psycopg.AsyncConnection.connect(url) as conn:
            await conn.execute("SET session_replication_role = replica")  # the audit's own triggers refuse
            for (name,) in names:
                if name not in KEPT:
                    await conn.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)))
        with closing(sqlite3.connect(self.stripe_file, timeout=10)) as stripe, stripe:
            for name in STRIPE_TABLES:
                stripe.execute(f"DELETE FROM {name}")  # noqa: S608 - a literal of this module

    async def open_slots(self) -> list[str]:
        """New slots; their offerings are made the first time, and then cost what they did at first."""
        self.day = datetime.now(UTC).date() + timedelta(days=DAYS_AHEAD)
        for slug, currency, amount, in_credits in OFFERINGS:
            await self.rows(
                """
                INSERT INTO offerings (slug, name, kind, unit_amount, currency, credits_price, timezone, pay_on_arrival)
                VALUES (%s, %s, 'class', %s, %s, %s, 'UTC', %s)
                ON CONFLICT (slug) DO UPDATE SET unit_amount = excluded.unit_amount,
                    credits_price = excluded.credits_price, pay_on_arrival = excluded.pay_on_arrival
                """,
                [slug, slug, amount, currency, in_credits, in_credits is not None],
            )
        return [await self._open_slot(number) for number in range(len(SLOTS))]

    async def _open_slot(self, number: int) -> str:
        ((slot,),) = await self.rows(
            """
            INSERT INTO slots (offering_id, starts_at, ends_at, max_units, max_bookings)
            SELECT id, at, at + interval '1 hour', %s, %s
            FROM offerings, LATERAL (SELECT (%s + make_time(%s, 0, 0)) AT TIME ZONE 'UTC' AS at) t
            WHERE slug = %s RETURNING id::text
            """,
            [*SLOTS[number], self.day, FIRST_HOUR + number, OFFERINGS[OFFERING_OF[number]][0]],
        )
        return slot

    async def expire(self, reservation_id: str) -> None:
        """A hold's time is over, as operators do it."""
        await self.rows(
            "UPDATE ticket_reservations SET expires_at = now() WHERE id = %s AND status = 'active'",
            [reservation_id],
        )

    async def expire_all(self) -> None:
        """The time of every hold is over."""
        await self.rows(
            "UPDATE ticket_reservations SET expires_at = least(expires_at, now()) WHERE status = 'active'"
        )

    async def begin_slot(self, slot_id: str, hours: int) -> None:
        """Its time has come, or comes in so many hours; never later than it was."""
        await self.rows(
            """
            UPDATE slots SET starts_at = least(starts_at, now() + make_interval(hours => %s) - interval '1 minute')
            WHERE id = %s
            """,
            [hours, slot_id],
        )

    async def let_leases_end(self) -> None:
        """Whoever has died has lost its leases, and what is to be tried again later is due."""
        await self.rows("""
            UPDATE payment_intents_log SET lease_until = least(lease_until, now()),
                next_ask_at = least(next_ask_at, now()), next_reconcile_at = least(next_reconcile_at, now())
            WHERE lease_until > now() OR next_ask_at > now() OR next_reconcile_at > now()""")
        await self.rows("UPDATE webhook_events_log SET next_attempt_at = now() WHERE next_attempt_at > now()")
        await self.rows(
            "UPDATE outbox SET lease_until = '-infinity', next_attempt_at = now() WHERE status = 'pending'"
        )

    async def left_to_do(self) -> dict[str, int]:
        """How much has still to come to an end, by what it is."""
        (row,) = await self.rows("""
            SELECT (SELECT count(*) FROM outbox WHERE status = 'pending'),
                   (SELECT count(*) FROM ticket_reservations WHERE status = 'active'),
                   (SELECT count(*) FROM webhook_events_log WHERE status IN ('received', 'failed')),
                   (SELECT count(*) FROM payment_intents_log WHERE canceled_at IS NULL AND captured_amount = 0),
                   (SELECT count(*) FROM payment_intents_log
                    WHERE idempotency_key LIKE 'found:%' AND captured_amount = 0 AND status <> 'canceled'),
                   (SELECT count(*) FROM credit_grants WHERE remaining > 0 AND expires_at <= now())""")
        names = ("effects", "holds", "events", "payments", "second intents", "grants that have expired")
        return dict(zip(names, row, strict=True))

    async def violations(self, forced: set[str]) -> list[str]:
        """What may never be, not for a moment; of `forced` holds a person gave the seats back before their time."""
        broken = await self.rows("SELECT invariant, subject_id, detail FROM invariant_violations")
        found = [f"{name}: {subject} {detail}" for name, subject, detail in broken if subject not in forced]
        greedy = await self.rows(
            """
            SELECT customer_id::text, count(*) FROM (
                SELECT customer_id FROM ticket_reservations WHERE status = 'active' AND expires_at > now()
                UNION ALL
                SELECT b.customer_id FROM bookings b
                WHERE b.status = 'confirmed' AND b.payment_method = 'pay_on_arrival' AND b.payment_status = 'pending'
                  AND EXISTS (SELECT FROM booking_items i JOIN slots s ON s.id = i.slot_id
                              WHERE i.booking_id = b.id AND s.starts_at > now())
            ) held GROUP BY 1 HAVING count(*) > %s
            """,
            [MOST_HOLDS],
        )
        return found + [f"too many holds of a customer: {customer} has {count}" for customer, count in greedy]
