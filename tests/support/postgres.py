"""One PostgreSQL server a version, its migrated template database, and a clone of it a test."""

import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from functions.migrate.service import apply_migrations
from local.postgres import SUPERUSER, PostgresServer, installations

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
TEMPLATE = "migrated"
ROOM = 4 * 1024**3


def _major(binaries: Path) -> str:
    machine = re.search(r"/postgresql/(\d+)/", str(binaries))
    return machine[1] if machine else "18"


VERSIONS = {_major(binaries): binaries for binaries in reversed(installations())}
NEWEST = max(VERSIONS, key=int)

on_every_postgres = pytest.mark.parametrize("postgres_version", sorted(VERSIONS, key=int), indirect=True)


def in_memory() -> Path | None:
    """A folder that is memory, where there is one with room to spare: a clone a test costs a third there."""
    memory = Path("/dev/shm")  # noqa: S108 - a private folder is made below it
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM:
        return memory
    return None


class Servers:
    """The servers of this test process, each started when a test first asks for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, PostgresServer] = {}

    def __getitem__(self, version: str) -> PostgresServer:
        if version not in self._running:
            server = PostgresServer(self._folder / version, binaries=VERSIONS[version], durable=False)
            server.start()
            self._running[version] = server
            apply_migrations(server.create_database(TEMPLATE), MIGRATIONS)
        return self._running[version]

    def stop(self) -> None:
        for server in self._running.values():
            server.stop()


@contextmanager
def database_of_its_own(server: PostgresServer, *, template: str = TEMPLATE) -> Generator[str]:
    """The name of a new database, gone at the end; `template1` for an empty one."""
    name = f"test_{uuid4().hex}"
    server.create_database(name, template=template)
    try:
        yield name
    finally:
        server.drop_database(name)


def end_connections(server: PostgresServer, database: str) -> int:
    """Ends every connection to the database from outside, as a failover does; answers how many."""
    with psycopg.connect(server.url(SUPERUSER, "postgres"), autocommit=True) as conn:
        row = conn.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s", [database]
        ).fetchone()
    assert row is not None
    return row[0]
