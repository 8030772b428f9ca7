"""The simulation's guards: each is in the SQL as it stands, can be switched off, and is as it was afterwards."""

import psycopg

from local.postgres import PostgresServer
from local.simulation.guard import Guard, without
from local.simulation.guards import GUARDS


def as_it_stands(owner_url: str, guard: Guard) -> list[tuple[str]]:
    """The functions and constraints that the guard is made of."""
    with psycopg.connect(owner_url) as conn:
        return conn.execute(
            """
            SELECT pg_get_functiondef(oid) FROM pg_proc
            WHERE pronamespace = 'public'::regnamespace AND proname = ANY (%s)
            UNION ALL
            SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = ANY (%s)
            ORDER BY 1
            """,
            [list(guard.functions), list(guard.constraints)],
        ).fetchall()


def test_every_guard_can_be_switched_off_and_comes_back(postgres: PostgresServer, database_name: str) -> None:
    """Whoever rewords a function finds out here that a hole is not looked for any more."""
    owner_url = postgres.url(database=database_name)
    for guard in GUARDS:
        before = as_it_stands(owner_url, guard)
        with without(guard, owner_url):
            off = as_it_stands(owner_url, guard)
        assert len(before) == len(guard.functions) + len(guard.constraints), guard.name
        assert off != before, guard.name
        assert as_it_stands(owner_url, guard) == before, guard.name
