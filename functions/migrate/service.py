"""Migrations: numbered files once and in order, then the SQL functions whose text has changed.

Each file is a transaction of its own, unless its first line is `-- no-transaction` (CREATE INDEX CONCURRENTLY): then each
of its statements is, and must bear to be run again. A session lock lets one runner work while others wait; it needs a
direct connection, not a transaction pooler.
"""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

# Any number that nothing else in this database uses.
LOCK_ID = 4_207_849_484
LOCK_ASKED_EVERY_SECONDS = 0.1
NO_TRANSACTION = "-- no-transaction"
CREATE_LOG = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class MigrationChanged(Exception):
    """A migration that has been applied was changed afterwards: write a new one."""


@dataclass(frozen=True, slots=True)
class SqlFile:
    """A file of SQL by its name below the folder."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def apply_migrations(database_url: str, folder: Path) -> dict[str, Any]:
    """Brings the database to what the folder says: `{"applied": [names], "current": name}`.

    Run twice it does nothing; two at once wait for each other. Raises `MigrationChanged`.
    """
    numbered = _files(folder, "[0-9][0-9][0-9][0-9]_*.sql")
    if not numbered:
        raise FileNotFoundError(f"no migrations in {folder}: is MIGRATIONS_DIR right?")
    replaceable = _files(folder, "functions/*.sql")
    with psycopg.connect(database_url, autocommit=True) as conn:
        _take_lock(conn)
        # In a database in use, a statement that waits for a table makes everybody queue behind it: give up instead.
        conn.execute("SET lock_timeout = '5s'")
        conn.execute(CREATE_LOG)
        applied = dict(conn.execute("SELECT name, sha256 FROM schema_migrations").fetchall())
        for file in numbered:
            if applied.get(file.name, file.sha256) != file.sha256:
                raise MigrationChanged(
                    f"{file.name} was changed after it had been applied: write a new migration"
                )
        due = [file for file in numbered if file.name not in applied]
        # A new table may change what a function means: after any migration all functions are made anew.
        due += [file for file in replaceable if due or applied.get(file.name) != file.sha256]
        for file in due:
            _apply(conn, file)
        return {"applied": [file.name for file in due], "current": numbered[-1].name}


def _take_lock(conn: psycopg.Connection[Any]) -> None:
    """Waits until no other runner is at work, asking again and again.

    A statement that waits for the lock would keep its snapshot meanwhile, and CREATE INDEX CONCURRENTLY of the runner that
    has the lock would wait for that snapshot: a deadlock.
    """
    while conn.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_ID]).fetchone() != (True,):
        time.sleep(LOCK_ASKED_EVERY_SECONDS)


def _files(folder: Path, pattern: str) -> list[SqlFile]:
    return [
        SqlFile(path.relative_to(folder).as_posix(), path.read_text())
        for path in sorted(folder.glob(pattern))
    ]


def _apply(conn: psycopg.Connection[Any], file: SqlFile) -> None:
    # The files are this repository's own: bytes, because no input may be a string.
    if file.text.startswith(NO_TRANSACTION):
        for statement in file.text.split(";\n"):
            conn.execute(statement.encode())
        _record(conn, file)
        return
    with conn.transaction():
        conn.execute(file.text.encode())
        _record(conn, file)


def _record(conn: psycopg.Connection[Any], file: SqlFile) -> None:
    conn.execute(
        """
        INSERT INTO schema_migrations (name, sha256) VALUES (%s, %s)
        ON CONFLICT (name) DO UPDATE SET sha256 = excluded.sha256, applied_at = now()
        """,
        [file.name, file.sha256],
    )
