"""Takes a guard out of a test's own database, to prove that the test would notice."""

import re
from collections.abc import Callable
from datetime import datetime

import psycopg

TRIES = 200


def rewrite_function(owner_url: str, name: str, *changes: tuple[str, str]) -> None:
    """Replaces parts of a SQL function's text; each part must be there, whatever the white space between its words."""
    with psycopg.connect(owner_url, autocommit=True) as conn:
        row = conn.execute("SELECT pg_get_functiondef(%s::regproc)", [name]).fetchone()
        assert row is not None
        text: str = row[0]
        for old, new in changes:
            pattern = r"\s+".join(re.escape(word) for word in old.split())
            text, replaced = re.subn(pattern, lambda _, new=new: new, text)
            assert replaced, f"{name} does not say: {old}"
        conn.execute(text.encode())


def begin_window(owner_url: str, name: str) -> datetime:
    """The minute or hour of that function's limit begins now, so that none ends in the middle of a test."""
    with psycopg.connect(owner_url) as conn:
        row = conn.execute("SELECT now()").fetchone()
    assert row is not None
    now: datetime = row[0]
    rewrite_function(owner_url, name, ("'epoch'", f"'{now.isoformat()}'"))
    return now


def shows(race: Callable[[], bool]) -> bool:
    """Whether a race comes to what the guard prevents: who is first is not in a test's hands, so it is run again and again."""
    return any(race() for _ in range(TRIES))


def execute(owner_url: str, *statements: str) -> None:
    """Runs statements as the owner."""
    with psycopg.connect(owner_url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def sell_what_is_not_there(owner_url: str) -> None:
    """Takes out the two constraints that would refuse wrong counts, so that what the locks prevent can be seen."""
    execute(
        owner_url,
        "ALTER TABLE slots DROP CONSTRAINT slots_never_oversold",
        "ALTER TABLE slots DROP CONSTRAINT slots_counts_are_never_negative",
    )
