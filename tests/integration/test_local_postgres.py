"""The embedded PostgreSQL starts anywhere, keeps its data, and never outlives its parent."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from local.child import Identity, birth
from local.postgres import PostgresServer, PostgresUnavailable, installations

ROOT = Path(__file__).parents[2]
AS_ROOT = os.geteuid() == 0


def major(binaries: Path) -> str:
    version = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
    return version.stdout.split()[2].partition(".")[0]


@pytest.fixture(params=installations(), ids=major, scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresServer]:
    """A server in a folder whose path is awkward: spaces, and longer than a socket's path may be."""
    folder = tmp_path_factory.mktemp("postgres") / "a folder with spaces" / ("deep" * 30)
    server = PostgresServer(folder, binaries=request.param, durable=False)
    server.start()
    yield server
    server.stop()


def test_it_holds_the_owner_and_its_database(server: PostgresServer) -> None:
    """The owner may do what RDS's master user may: create roles and databases, but it is no superuser."""
    with psycopg.connect(server.url()) as conn:
        row = conn.execute(
            "SELECT current_user, rolsuper, rolcreaterole, rolcreatedb, current_setting('server_encoding'),"
            " current_setting('TimeZone') FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row == ("holdfast_owner", False, True, True, "UTF8", "UTC")


def test_databases_are_cloned_and_dropped(server: PostgresServer) -> None:
    """A test suite clones a template for each test, and drops it whoever is still connected."""
    with psycopg.connect(server.url(), autocommit=True) as conn:
        conn.execute("CREATE TABLE seats (id int)")
        conn.execute("INSERT INTO seats VALUES (7)")
    connected = psycopg.connect(server.create_database("clone", template="holdfast"))
    assert connected.execute("SELECT id FROM seats").fetchone() == (7,)
    server.drop_database("clone")
    connected.close()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(server.url(database="clone"))


def test_after_a_kill_it_starts_again_with_its_data_on_its_port(server: PostgresServer) -> None:
    """Killed with -9 it loses nothing that was committed, whatever was switched off for speed."""
    with psycopg.connect(server.url(), autocommit=True) as conn:
        conn.execute("CREATE TABLE kept (id int)")
    assert server.process is not None
    server.process.kill()
    server.process.wait()
    server.start()
    with psycopg.connect(server.url()) as conn:
        assert conn.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    server.stop()
    assert PostgresServer(server.folder, binaries=server.binaries).port == server.port
    server.start()


@pytest.mark.skipif(not AS_ROOT, reason="only root has somebody else to be")
def test_where_user_namespaces_are_refused_it_runs_as_nobody(tmp_path: Path) -> None:
    """Its data and a copy of its binaries then stand where nobody can reach them."""
    identity: Identity = "nobody"
    server = PostgresServer(tmp_path / "state", durable=False, identity=identity)
    try:
        server.start()
        assert server.process is not None
        assert Path(f"/proc/{server.process.pid}").stat().st_uid == 65534
        server.stop()
        server.start()
        assert server.answers()
    finally:
        server.stop()
        shutil.rmtree(server.data.parents[1])


def test_a_lock_that_names_another_program_is_no_obstacle(tmp_path: Path) -> None:
    """After a restart of the machine the old server's pid may be anybody's, and lives."""
    server = PostgresServer(tmp_path / "state", durable=False)
    server.initialise()
    lines = [str(os.getpid()), str(server.data), "1", str(server.port), "", "127.0.0.1", "0 0", "ready"]
    (server.data / "postmaster.pid").write_text("\n".join(lines) + "\n")
    try:
        server.start()
        assert server.answers()
    finally:
        server.stop()


def test_data_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    """Rather than PostgreSQL's own words in a log file."""
    server = PostgresServer(tmp_path / "state")
    server.data.mkdir()
    (server.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(PostgresUnavailable, match="was made by PostgreSQL 9"):
        server.start()


def test_it_dies_with_a_killed_parent(tmp_path: Path) -> None:
    """Whoever started it was killed with -9: no server is left behind, and the data is good for the next start."""
    program = (
        "import sys, time; from pathlib import Path; from local.postgres import PostgresServer\n"
        "server = PostgresServer(Path(sys.argv[1]), durable=False); server.start()\n"
        "print(server.process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "state")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert birth(pid) is not None
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while birth(pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    server = PostgresServer(tmp_path / "state", durable=False)
    server.start()
    server.stop()
