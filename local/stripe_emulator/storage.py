"""The emulator's state in one SQLite file, written through before any answer is sent.

WAL without fsync: it survives a kill of the process (the pages are with the kernel by then), not a power cut.
"""

import json
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SCHEMA = """
-- Every object that the API knows, as the API shows it; `private` is what Stripe keeps to itself about it.
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    body TEXT NOT NULL,
    private TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS objects_by_creation ON objects (kind, created);
CREATE INDEX IF NOT EXISTS objects_of_an_intent ON objects (kind, json_extract(body, '$.payment_intent'))
    WHERE kind IN ('charge', 'refund', 'checkout.session');
CREATE INDEX IF NOT EXISTS refunds_of_a_charge ON objects (json_extract(body, '$.charge'))
    WHERE kind = 'refund';
CREATE INDEX IF NOT EXISTS disputes_of_a_charge ON objects (json_extract(body, '$.charge'))
    WHERE kind = 'dispute';
CREATE INDEX IF NOT EXISTS open_sessions ON objects (json_extract(body, '$.expires_at'))
    WHERE kind = 'checkout.session' AND json_extract(body, '$.status') = 'open';

-- What the search index will see of an intent once it has caught up with `saved_at`.
CREATE TABLE IF NOT EXISTS search_index (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    saved_at REAL NOT NULL,
    fields TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS search_index_by_id ON search_index (id, saved_at);

-- One row a copy of an event on its way to the webhook endpoint.
CREATE TABLE IF NOT EXISTS deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('held', 'waiting', 'delivered', 'dropped', 'abandoned')),
    attempts INTEGER NOT NULL DEFAULT 0,
    last_status INTEGER,
    last_error TEXT,
    next_at REAL NOT NULL,
    give_up_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (state, next_at);
CREATE INDEX IF NOT EXISTS deliveries_of_event ON deliveries (event_id);

-- What ends by itself: at `due_at`, or else as long after `since` as the fault script says.
CREATE TABLE IF NOT EXISTS pending (
    object_id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    outcome TEXT NOT NULL,
    since REAL NOT NULL,
    due_at REAL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS idempotency_keys (
    key TEXT PRIMARY KEY,
    created REAL NOT NULL,
    path TEXT NOT NULL,
    parameters TEXT NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    request_id TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS faults (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), body TEXT NOT NULL);
"""


@dataclass
class Stored:
    """An object as the API shows it, and what Stripe keeps to itself about it."""

    body: dict[str, Any]
    private: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def id(self) -> str:
        """The object's id."""
        return self.body["id"]


class Storage:
    """One connection, used by one thread: a transaction is never interleaved with another."""

    def __init__(self, directory: Path) -> None:
        """Open or create the state below `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(directory / "stripe_emulator.sqlite3", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Generator[None]:
        """All or nothing of what is written inside; inside another one, a savepoint of it."""
        nested = self._db.in_transaction
        self._db.execute("SAVEPOINT step" if nested else "BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK TO step" if nested else "ROLLBACK")
            if nested:
                self._db.execute("RELEASE step")
            raise
        self._db.execute("RELEASE step" if nested else "COMMIT")

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run one statement; the modules that own a table write their own."""
        return self._db.execute(sql, parameters)

    def insert(self, stored: Stored) -> None:
        """Keep a new object; its kind is its `object` field."""
        self._db.execute(
            "INSERT INTO objects (kind, id, created, body, private) VALUES (?, ?, ?, ?, ?)",
            (
                stored.body["object"],
                stored.id,
                stored.body["created"],
                json.dumps(stored.body),
                json.dumps(stored.private),
            ),
        )

    def update(self, stored: Stored) -> None:
        """Write an object's present state."""
        self._db.execute(
            "UPDATE objects SET body = ?, private = ? WHERE id = ?",
            (json.dumps(stored.body), json.dumps(stored.private), stored.id),
        )

    def find(self, kind: str, object_id: str) -> Stored | None:
        """The object of that kind and id, if there is one."""
        row = self._db.execute(
            "SELECT body, private FROM objects WHERE id = ? AND kind = ?", (object_id, kind)
        ).fetchone()
        return None if row is None else Stored(json.loads(row[0]), json.loads(row[1]))

    def sequence_of(self, kind: str, object_id: str) -> int | None:
        """The place of an object in the order of creation, which is the order of every list."""
        row = self._db.execute(
            "SELECT seq FROM objects WHERE id = ? AND kind = ?", (object_id, kind)
        ).fetchone()
        return None if row is None else row[0]

    def select(
        self,
        kind: str,
        conditions: str,
        parameters: Sequence[object],
        *,
        limit: int,
        oldest_first: bool = False,
    ) -> list[dict[str, Any]]:
        """Bodies of a kind that satisfy `conditions` (SQL over `objects`), newest first by default."""
        order = "ASC" if oldest_first else "DESC"
        rows = self._db.execute(
            f"SELECT body FROM objects WHERE kind = ? AND {conditions} ORDER BY seq {order} LIMIT ?",  # noqa: S608 - conditions are this package's literals
            (kind, *parameters, limit),
        )
        return [json.loads(body) for (body,) in rows]
