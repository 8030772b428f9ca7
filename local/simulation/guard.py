"""One guard that can be switched off, to see that the simulation finds the hole: in the database alone."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from tests.concurrency.guards import execute, rewrite_function

# Checks of the counters of slots, which would refuse what the locks and the counting before them let through.
COUNTS = ("slots_never_oversold", "slots_counts_are_never_negative")

type Changes = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Guard:
    """What keeps a promise, how it is taken out of functions, and which constraints have to go with it."""

    name: str
    functions: dict[str, Changes]
    constraints: Sequence[str] = ()


@contextmanager
def without(guard: Guard, owner_url: str) -> Generator[None]:
    """The database without the guard; as it was afterwards, once it is empty again."""
    with psycopg.connect(owner_url, autocommit=True) as conn:
        functions = [
            conn.execute("SELECT pg_get_functiondef(%s::regproc)", [name]).fetchall()[0][0]
            for name in guard.functions
        ]
        constraints = conn.execute(
            "SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conname = ANY (%s)",
            [list(guard.constraints)],
        ).fetchall()
    execute(owner_url, *(f"ALTER TABLE {table} DROP CONSTRAINT {name}" for table, name, _ in constraints))
    for name, changes in guard.functions.items():
        rewrite_function(owner_url, name, *changes)
    try:
        yield
    finally:
        execute(
            owner_url,
            *functions,
            *(
                f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}"
                for table, name, definition in constraints
            ),
        )
