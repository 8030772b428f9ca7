"""What a person with the owner's database URL does during the sale, beside the functions: move time, force an end."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

type Connection = psycopg.AsyncConnection[tuple[Any, ...]]
PATIENCE_S = 90.0  # the database is killed under the operator's hands, and comes back
PAUSE_S = 0.2


@dataclass(frozen=True)
class HallState:
    """The two slots as their own counters have them."""

    seats: int
    seats_held: int
    seats_sold: int
    chairs: int
    chairs_held: int
    chairs_sold: int

    @property
    def seats_free(self) -> int:
        """Neither held nor sold."""
        return self.seats - self.seats_held - self.seats_sold

    @property
    def chairs_free(self) -> int:
        """Neither held nor sold."""
        return self.chairs - self.chairs_held - self.chairs_sold


@dataclass(frozen=True)
class Operator:
    """One connection for each act; every act is one commit, and is done again where its answer was lost."""

    database_admin_url: str
    concert_id: str
    chair_id: str

    async def open_hall(self, seats: int) -> None:
        """Give the concert so many seats."""
        await self._execute("UPDATE slots SET max_units = %s WHERE id = %s", [seats, self.concert_id])

    async def add_chair(self) -> None:
        """One more appointment at the same time; twice if the answer is lost."""
        await self._execute(
            "UPDATE slots SET max_units = max_units + 1, max_bookings = max_bookings + 1 WHERE id = %s",
            [self.chair_id],
        )

    async def sabotage(self, statements: str) -> None:
        """Switch a guard off, to see that it is noticed."""

        async def act(conn: Connection) -> None:
            await conn.execute(statements.encode())

        await self._act(act)

    async def let_time_pass(self, reservations: Sequence[str]) -> int:
        """The holds' time is over now instead of in a quarter of an hour; how many were still active."""
        moved = await self._execute(
            """
            UPDATE ticket_reservations SET expires_at = now()
            WHERE id = ANY (%s::uuid[]) AND status = 'active' RETURNING id
            """,
            [list(reservations)],
        )
        return len(moved)

    async def let_all_time_pass(self) -> int:
        """The time of every hold is over; how many there are that have not ended yet."""
        active = await self._execute(
            """
            UPDATE ticket_reservations SET expires_at = least(expires_at, now())
            WHERE status = 'active' RETURNING id
            """,
            [],
        )
        return len(active)

    async def let_leases_end(self) -> None:
        """What only waits for a dead owner's lease, or for its next try, is due now."""
        await self._execute(
            """
            UPDATE payment_intents_log SET lease_until = least(lease_until, now()), next_ask_at = least(next_ask_at, now())
            WHERE lease_until > now() OR next_ask_at > now()
            """,
            [],
        )
        await self.let_reconciliation_be_due()
        await self._execute(
            "UPDATE outbox SET lease_until = '-infinity', next_attempt_at = now() WHERE status = 'pending'",
            [],
        )

    async def let_reconciliation_be_due(self) -> None:
        """Payments that would be asked about in some minutes are asked about by the next run."""
        await self._execute(
            "UPDATE payment_intents_log SET next_reconcile_at = now() WHERE next_reconcile_at BETWEEN now() AND 'infinity'",
            [],
        )

    async def end_by_force(self, reservations: Sequence[str]) -> int:
        """Give the seats of active holds back although their payments are open at Stripe: what the functions never do.

        In the functions' lock order, with their own release.
        """
        wanted = [list(reservations)]

        async def act(conn: Connection) -> int:
            await conn.execute(
                "SELECT FROM payment_intents_log WHERE reservation_id = ANY (%s::uuid[]) ORDER BY id FOR NO KEY UPDATE",
                wanted,
            )
            cursor = await conn.execute(
                """
                SELECT id FROM ticket_reservations WHERE id = ANY (%s::uuid[]) AND status = 'active'
                ORDER BY id FOR NO KEY UPDATE
                """,
                wanted,
            )
            active = [row[0] for row in await cursor.fetchall()]
            await conn.execute("SELECT lock_slots_of(%s)", [active])
            await conn.execute("SELECT release_holds(%s, 'expired')", [active])
            return len(active)

        return await self._act(act)

    async def hall(self) -> HallState:
        """How the hall stands."""
        rows = await self._execute(
            "SELECT id::text, max_units, held_units, sold_units FROM slots WHERE id = ANY (%s::uuid[])",
            [[self.concert_id, self.chair_id]],
        )
        slots = {row[0]: row[1:] for row in rows}
        return HallState(*slots[self.concert_id], *slots[self.chair_id])

    async def active(self, reservations: Iterable[str]) -> int:
        """How many of these holds have not ended."""
        rows = await self._execute(
            "SELECT count(*) FROM ticket_reservations WHERE id = ANY (%s::uuid[]) AND status = 'active'",
            [list(reservations)],
        )
        return rows[0][0]

    async def undelivered_effects(self) -> int:
        """Rows of the outbox that are still to be delivered."""
        rows = await self._execute("SELECT count(*) FROM outbox WHERE status = 'pending'", [])
        return rows[0][0]

    async def known_events(self, events: Iterable[str]) -> int:
        """How many of these events of Stripe's have a row."""
        rows = await self._execute(
            "SELECT count(*) FROM webhook_events_log WHERE event_id = ANY (%s)", [list(events)]
        )
        return rows[0][0]

    async def _execute(self, query: LiteralString, params: Sequence[object]) -> list[tuple[Any, ...]]:
        async def act(conn: Connection) -> list[tuple[Any, ...]]:
            cursor = await conn.execute(query, params)
            return await cursor.fetchall() if cursor.description else []

        return await self._act(act)

    async def _act[T](self, act: Callable[[Connection], Awaitable[T]]) -> T:
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self.database_admin_url) as conn:
                    return await act(conn)
            except psycopg.OperationalError:
                if time.monotonic() > give_up_at:
                    raise
            await asyncio.sleep(PAUSE_S)
