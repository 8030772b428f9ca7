"""Migrations: once, in order, by one at a time, also on a database in use."""

import shutil
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from functions.migrate.handler import lambda_handler
from functions.migrate.service import MigrationChanged, apply_migrations
from local.postgres import PostgresServer
from runtime import settings
from tests.support.app import App
from tests.support.lambda_events import Context
from tests.support.postgres import MIGRATIONS, database_of_its_own, on_every_postgres

pytestmark = on_every_postgres
NUMBERED = sorted(path.name for path in MIGRATIONS.glob("*.sql"))
FUNCTIONS = sorted(f"functions/{path.name}" for path in MIGRATIONS.glob("functions/*.sql"))


@pytest.fixture
def empty(postgres: PostgresServer) -> Generator[str]:
    """The owner's URL of a database without anything."""
    with database_of_its_own(postgres, template="template1") as name:
        yield postgres.url(database=name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations, to change."""
    return shutil.copytree(MIGRATIONS, tmp_path / "migrations")


def schema(url: str) -> list[tuple[object, ...]]:
    """Every column, constraint, index, function, trigger and grant of the database."""
    with psycopg.connect(url) as conn:
        return conn.execute(
            """
            SELECT 'column', table_name, column_name, data_type || coalesce(column_default, '') || is_nullable
            FROM information_schema.columns WHERE table_schema = 'public'
            UNION ALL
            SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
            FROM pg_constraint WHERE connamespace = 'public'::regnamespace
            UNION ALL
            SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
            UNION ALL
            SELECT 'function', proname, oidvectortypes(proargtypes), md5(pg_get_functiondef(p.oid))
            FROM pg_proc p WHERE pronamespace = 'public'::regnamespace AND prokind = 'f' AND probin IS NULL
            UNION ALL
            SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
            UNION ALL
            SELECT 'grant', relname, '', coalesce(relacl::text, '') FROM pg_class WHERE relnamespace = 'public'::regnamespace
            ORDER BY 1, 2, 3, 4
            """
        ).fetchall()


def applied(url: str) -> list[str]:
    with psycopg.connect(url) as conn:
        return [
            name for (name,) in conn.execute("SELECT name FROM schema_migrations ORDER BY name").fetchall()
        ]


def test_twice_is_once(empty: str) -> None:
    """The first run applies all in order, the second nothing; the schema is the same."""
    assert apply_migrations(empty, MIGRATIONS) == {"applied": NUMBERED + FUNCTIONS, "current": NUMBERED[-1]}
    before = schema(empty)
    assert apply_migrations(empty, MIGRATIONS) == {"applied": [], "current": NUMBERED[-1]}
    assert schema(empty) == before
    assert len(before) > 200


def test_two_at_once_are_once(empty: str) -> None:
    """Two runners: one works, the other waits and finds everything done."""
    start = threading.Barrier(4)

    def run(_: int) -> int:
        start.wait()
        return len(apply_migrations(empty, MIGRATIONS)["applied"])

    with ThreadPoolExecutor(4) as pool:
        counts = sorted(pool.map(run, range(4)))
    assert counts == [0, 0, 0, len(NUMBERED + FUNCTIONS)]
    assert applied(empty) == sorted(NUMBERED + FUNCTIONS)


def test_a_changed_migration_is_refused(empty: str, folder: Path) -> None:
    """A numbered file that was changed after it had been applied stops everything, and nothing is applied."""
    apply_migrations(empty, folder)
    before = schema(empty)
    changed = folder / NUMBERED[2]
    changed.write_text(changed.read_text() + "\n-- a word more\n")
    (folder / "0999_new.sql").write_text("CREATE TABLE new_table (id int);")
    with pytest.raises(MigrationChanged, match=NUMBERED[2]):
        apply_migrations(empty, folder)
    assert schema(empty) == before


def test_a_new_migration_is_applied_and_functions_are_made_anew(empty: str, folder: Path) -> None:
    """A new file is applied; every function is made anew after it, since a table may now mean something else."""
    apply_migrations(empty, folder)
    (folder / "0999_new.sql").write_text("CREATE TABLE new_table (id int);")
    assert apply_migrations(empty, folder) == {
        "applied": ["0999_new.sql", *FUNCTIONS],
        "current": "0999_new.sql",
    }


def test_a_changed_function_is_replaced_alone(empty: str, folder: Path) -> None:
    """The SQL functions may change: only the file that did is applied."""
    apply_migrations(empty, folder)
    file = folder / FUNCTIONS[0]
    file.write_text(file.read_text() + "\n-- a word more\n")
    assert apply_migrations(empty, folder)["applied"] == [FUNCTIONS[0]]
    assert apply_migrations(empty, folder)["applied"] == []


def test_a_migration_that_fails_leaves_nothing_behind(empty: str, folder: Path) -> None:
    """Each file is a transaction: its first half is gone, what came before stays, and a corrected file goes on."""
    bad = folder / "0999_bad.sql"
    bad.write_text("CREATE TABLE half (id int); SELECT 1/0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        apply_migrations(empty, folder)
    assert applied(empty) == NUMBERED
    bad.write_text("CREATE TABLE half (id int);")
    assert apply_migrations(empty, folder)["applied"] == ["0999_bad.sql", *FUNCTIONS]


def test_a_file_may_run_outside_a_transaction(empty: str, folder: Path) -> None:
    """`-- no-transaction` is for CREATE INDEX CONCURRENTLY."""
    apply_migrations(empty, folder)
    (folder / "0999_index.sql").write_text(
        "-- no-transaction\nCREATE INDEX CONCURRENTLY slots_by_end ON slots (ends_at);\n"
    )
    assert "0999_index.sql" in apply_migrations(empty, folder)["applied"]
    assert any("slots_by_end" in str(row) for row in schema(empty))


def test_an_empty_folder_is_a_mistake(empty: str, tmp_path: Path) -> None:
    """A wrong MIGRATIONS_DIR is not taken for a database that is up to date."""
    with pytest.raises(FileNotFoundError, match="MIGRATIONS_DIR"):
        apply_migrations(empty, tmp_path)


def test_on_a_database_in_use_no_write_is_lost(app: App) -> None:
    """Holds go on while everything is migrated again and again: each is answered, and each is there."""
    slot = app.slot(units=500)
    done = threading.Event()
    runs: list[int] = []

    def migrate() -> None:
        folder_of_functions = [path.name for path in MIGRATIONS.glob("functions/*.sql")]
        while not done.is_set():
            with psycopg.connect(app.owner_url, autocommit=True) as conn:
                conn.execute("UPDATE schema_migrations SET sha256 = '' WHERE name LIKE 'functions/%'")
            runs.append(
                len(apply_migrations(app.owner_url, MIGRATIONS)["applied"]) - len(folder_of_functions)
            )

    thread = threading.Thread(target=migrate)
    thread.start()
    try:
        answers = [app.try_hold(slot) for _ in range(60)]
    finally:
        done.set()
        thread.join()
    granted = [answer for answer in answers if answer.status == 201]
    assert {answer.status for answer in answers} <= {201, 409, 503}
    assert len(granted) > 50
    assert runs
    assert set(runs) == {0}
    assert app.counts(slot) == (len(granted), 0, len(granted), 0)
    assert app.violations() == []


def test_the_function_migrates(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`migrate` is told the owner's address and the folder, and answers what it applied."""
    monkeypatch.setenv("DATABASE_OWNER_URL", empty)
    monkeypatch.setenv("MIGRATIONS_DIR", str(MIGRATIONS))
    settings._load.cache_clear()
    assert lambda_handler({}, Context())["current"] == NUMBERED[-1]
    assert lambda_handler({}, Context())["applied"] == []
    settings._load.cache_clear()
