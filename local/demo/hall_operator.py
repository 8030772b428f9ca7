"""What a person with the owner's database URL does during the sale, beside the functions: move time, force an end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg


@dataclass(frozen=True)
class HallState:
    """The two slots as their own counters have them."""

    seats: int
    seats_held: int
    seats_sold: int
    chair_held: int
    chair_sold: int

    @property
    def is_sold_out(self) -> bool:
        """Everything is sold and nothing is merely held."""
        return (self.seats_sold, self.chair_sold) == (self.seats, 1)


@dataclass(frozen=True)
class Operator:
    """One connection for each act; every act is one commit."""

    database_admin_url: str
    concert_id: str
    chair_id: str

    async def open_hall(self, seats: int) -> None:
        """Give the concert so many seats."""
        await self._execute("UPDATE slots SET max_units = %s WHERE id = %s", [seats, self.concert_id])

    async def sabotage(self, statements: str) -> None:
        """Switch a guard off, to see that the demo notices."""
        async with await psycopg.AsyncConnection.connect(self.database_admin_url) as conn:
            await conn.execute(statements.encode())

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

    async def end_by_force(self, reservations: Sequence[str]) -> int:
        """Give the seats of active holds back although their payments are open at Stripe: what the functions never do.

        In the functions' lock order, with their own release.
        """
        wanted = [list(reservations)]
        async with await psycopg.AsyncConnection.connect(self.database_admin_url) as conn:
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

    async def hall(self) -> HallState:
        """How the hall stands."""
        rows = await self._execute(
            "SELECT id::text, max_units, held_units, sold_units FROM slots WHERE id = ANY (%s::uuid[])",
            [[self.concert_id, self.chair_id]],
        )
        slots = {row[0]: row[1:] for row in rows}
        concert, chair = slots[self.concert_id], slots[self.chair_id]
        return HallState(concert[0], concert[1], concert[2], chair[1], chair[2])

    async def undelivered_effects(self) -> int:
        """Rows of the outbox that are still to be delivered."""
        rows = await self._execute("SELECT count(*) FROM outbox WHERE status = 'pending'", [])
        return rows[0][0]

    async def _execute(self, query: LiteralString, params: Any) -> list[tuple[Any, ...]]:
        async with await psycopg.AsyncConnection.connect(self.database_admin_url) as conn:
            cursor = await conn.execute(query, params)
            return await cursor.fetchall() if cursor.description else []
