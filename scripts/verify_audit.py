"""Recomputes the audit's hash chain, and names the first row that does not fit; exit status 1 where there is one.

Nothing of it is left to the database but to read: a function there would be its owner's to change. HEAD=position:hash is
a head that seal-audit has reported (the function's log has one each five minutes): the chain must still go through it.
"""

import hashlib
import os
import sys
from collections.abc import Generator, Iterable, Mapping
from typing import Any

import psycopg

from scripts.owner import connect_as_owner

BATCH = 5000
PROGRESS_EVERY = 100_000

# The last column is the entry as audit_text() writes it, in migrations/functions/audit.sql.
SEALS = """
SELECT s.position, s.entry_id, s.hash, CASE WHEN l.id IS NOT NULL THEN jsonb_build_array(
    l.id, l.transaction_id::text, l.booking_id, l.table_name, l.row_id, l.action_type, l.old_values, l.new_values,
    l.performed_by, l.performed_by_id, l.ip_address, l.user_agent, l.reason, l.request_id, l.stripe_event_id,
    to_char(l.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')
)::text END
FROM audit_seals s LEFT JOIN booking_audit_log l ON l.id = s.entry_id
ORDER BY s.position
"""

type Connection = psycopg.Connection[tuple[Any, ...]]
type Seal = tuple[int, int, bytes, str | None]


class DoesNotFit(Exception):
    """The first row that is not as it was sealed."""


def verify(conn: Connection, head: str | None = None) -> str:
    """Says in one line what was verified. Raises `DoesNotFit`.

    One snapshot for all: what is written, sealed or removed meanwhile disturbs nothing.
    """
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        newest = conn.execute("SELECT position, hash FROM audit_checkpoints ORDER BY position DESC LIMIT 1")
        start, start_hash = newest.fetchone() or (0, b"")
        heads = _reported_heads(conn, head)
        position, last_hash = _walk(conn, start, start_hash, heads)
        if (cut := max(heads, default=0)) > position:
            raise DoesNotFit(
                f"the chain ends at position {position}, and had been sealed up to {cut}: its end is missing"
            )
        waiting = _unsealed(conn, position)
    return (
        f"{position - start} entries fit, positions {start + 1} to {position}; {waiting} wait for their seal; "
        f"head {position}:{last_hash.hex()}"
    )


def _walk(conn: Connection, start: int, start_hash: bytes, heads: Mapping[int, str]) -> tuple[int, bytes]:
    """The chain's last position and hash."""
    position, previous = start, start_hash
    with conn.cursor("seals") as seals:
        seals.itersize = BATCH
        seals.execute(SEALS)
        for seal, following in _with_following(seals):
            found, entry_id, stored, text = seal
            position += 1
            if found != position:
                raise DoesNotFit(f"position {position}: its seal is missing")
            if text is None:
                raise DoesNotFit(f"position {position}: entry {entry_id} is missing")
            if _hash(previous, text) != stored:
                raise DoesNotFit(f"position {position}: {_what_changed(previous, seal, following)}")
            if heads.get(position, stored.hex()) != stored.hex():
                raise DoesNotFit(
                    f"position {position}: the chain was made anew, seal-audit had reported another hash"
                )
            previous = stored
            if position % PROGRESS_EVERY == 0:
                print(f"{position} ...", file=sys.stderr, flush=True)
    return position, previous


def _with_following(seals: Iterable[Seal]) -> Generator[tuple[Seal, Seal | None]]:
    before: Seal | None = None
    for seal in seals:
        if before is not None:
            yield before, seal
        before = seal
    if before is not None:
        yield before, None


def _hash(previous: bytes, text: str) -> bytes:
    return hashlib.sha256(previous + text.encode()).digest()


def _what_changed(previous: bytes, seal: Seal, following: Seal | None) -> str:
    """The seal that follows was made of the true one."""
    _, entry_id, stored, text = seal
    if following is not None and following[3] is not None:
        if _hash(stored, following[3]) == following[2]:
            return f"entry {entry_id} was changed"
        if _hash(_hash(previous, text or ""), following[3]) == following[2]:
            return f"the seal of entry {entry_id} was changed"
    return f"entry {entry_id} or its seal was changed"


def _reported_heads(conn: Connection, head: str | None) -> dict[int, str]:
    """Position to hash: what seal-audit has left of each run, and what the caller has kept."""
    rows = conn.execute("SELECT DISTINCT result ->> 'head' FROM job_runs WHERE job = 'seal-audit'").fetchall()
    reported = [text for (text,) in rows if text] + ([head] if head else [])
    return {int(position): digest for position, _, digest in (text.partition(":") for text in reported)}


def _unsealed(conn: Connection, position: int) -> int:
    """How many entries are newer than what is sealed. Raises `DoesNotFit` for one that is not."""
    rows = conn.execute(
        """
        WITH sealed AS (
            SELECT l.transaction_id, l.id FROM audit_seals s JOIN booking_audit_log l ON l.id = s.entry_id
            WHERE s.position = %s
        )
        SELECT l.id, (l.transaction_id, l.id) < (s.transaction_id, s.id)
        FROM booking_audit_log l LEFT JOIN sealed s ON true
        WHERE NOT EXISTS (SELECT FROM audit_seals x WHERE x.entry_id = l.id)
        ORDER BY l.transaction_id, l.id
        """,
        [position],
    ).fetchall()
    for entry_id, is_older in rows:
        if is_older:
            raise DoesNotFit(
                f"entry {entry_id} has no seal, and is older than what is sealed: it was inserted later"
            )
    return len(rows)


def main() -> int:
    """Returns the exit status."""
    with connect_as_owner() as conn:
        try:
            print(verify(conn, os.environ.get("HEAD") or None))
        except DoesNotFit as misfit:
            print(misfit)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
