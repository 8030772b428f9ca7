"""What is measured: a durable PostgreSQL, Stripe's emulator, and the functions in real runtime processes."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench.stripe_clock import StripeClock
from functions.migrate.service import apply_migrations
from local.journal import Journal
from local.lambda_runtime.environment import ExecutionEnvironment
from local.lambda_runtime.runtime import LambdaRuntime
from local.postgres import DATABASE, SUPERUSER, PostgresServer
from local.settings import DATABASE_ROLES, Places, Secrets, Settings, Stripe
from local.template import LambdaFunction, load_template
from tests.emulator_process import SECRET_KEY, WEBHOOK_SECRET, Emulator, emulator

ROOT = Path(__file__).resolve().parent.parent
NOOP, EVERYTHING = "noop", "everything"
NOWHERE = "http://127.0.0.1:9"
# There is none here, and looking for it would be measured.
NO_QUEUE = {"WEBHOOK_INBOX_QUEUE_URL": ""}


class Alone:
    """The owner of an execution environment that is handed its events by hand."""

    def ready(self, environment: ExecutionEnvironment) -> None:
        """It rests, as between two events of a quiet function."""
        environment.freeze()

    def gone(self, environment: ExecutionEnvironment) -> None:
        """Whoever measures hears of it from the invocation."""


@dataclass(frozen=True)
class Stand:
    """The parts that stay up during a run; `database` is the one with nothing in it."""

    folder: Path
    postgres: PostgresServer
    stripe: Emulator
    stripe_clock: StripeClock
    secrets: Secrets
    journal: Journal
    functions: Mapping[str, LambdaFunction]
    environments: Mapping[str, Mapping[str, str]]

    def owner_url(self, database: str = DATABASE) -> str:
        """For preparing what is measured."""
        return self.postgres.url(database=database)

    def app_url(self, database: str = DATABASE) -> str:
        """As the functions connect."""
        return self.postgres.url("app", database)

    def connect(self, database: str = DATABASE) -> psycopg.Connection:
        """As the functions' own connection is opened."""
        return psycopg.connect(self.app_url(database), autocommit=True, prepare_threshold=None)

    def runtime(self, database: str = DATABASE, *, limit: int = 1) -> LambdaRuntime:
        """The functions over a database, with up to `limit` environments each."""
        environments = {
            name: {**environment, "DATABASE_URL": self.postgres.url(_role(name), database)}
            if "DATABASE_URL" in environment
            else environment
            for name, environment in self.environments.items()
        }
        folder = self.folder / "lambda" / database
        return LambdaRuntime(self.functions, environments, folder=folder, journal=self.journal, limit=limit)


def _role(function: str) -> str:
    return DATABASE_ROLES.get(function, "app")


@asynccontextmanager
async def open_stand(folder: Path) -> AsyncGenerator[Stand]:
    """Everything started and migrated; ended on the way out."""
    async with AsyncExitStack() as parts:
        journal = Journal(folder / "logs")
        parts.callback(journal.close)
        postgres = PostgresServer(folder / "postgres")
        parts.callback(postgres.stop)
        await asyncio.to_thread(postgres.initialise)
        postgres.start()
        apply_migrations(postgres.url(), ROOT / "migrations")
        stripe = parts.enter_context(emulator(folder / "stripe"))
        stripe_clock = StripeClock(stripe.port)
        await stripe_clock.open()
        parts.callback(stripe_clock.close)
        secrets = Secrets.kept_in(folder / "secrets.json")
        template = load_template(ROOT / "template.yaml")
        settings = Settings(
            Places(NOWHERE, postgres.port, NOWHERE, NOWHERE, NOWHERE),
            secrets,
            Stripe(stripe_clock.url, SECRET_KEY, (WEBHOOK_SECRET,), emulated=True),
            ROOT / "migrations",
            rate_limits=False,
        )
        environments = settings.environments(template)
        environments["health"] |= NO_QUEUE
        limits = load_template(ROOT / "bench/functions/template.yaml").functions
        yield Stand(
            folder=folder,
            postgres=postgres,
            stripe=stripe,
            stripe_clock=stripe_clock,
            secrets=secrets,
            journal=journal,
            functions={**template.functions, **limits},
            environments=environments,
        )


def postgres_version(stand: Stand) -> str:
    """The server's version and settings that figures hang on, in words."""
    with psycopg.connect(stand.postgres.url(SUPERUSER)) as conn:
        row = conn.execute(
            "SELECT current_setting('server_version'), current_setting('fsync'),"
            " current_setting('synchronous_commit'), current_setting('shared_buffers')"
        ).fetchone()
    version, fsync, synchronous_commit, shared_buffers = row or ("?",) * 4
    return (
        f"{version} (fsync {fsync}, synchronous_commit {synchronous_commit}, shared_buffers {shared_buffers})"
    )
