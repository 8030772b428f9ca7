"""Real servers for every test that asks for one, and the watch that no transaction is open during an HTTP call."""

import os
from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory

# Read when the functions' modules are imported.
os.environ.update(
    POWERTOOLS_SERVICE_NAME="tests",
    POWERTOOLS_METRICS_NAMESPACE="Holdfast",
    LOG_LEVEL="DEBUG",
    ENVIRONMENT="local",
    AWS_DEFAULT_REGION="eu-central-1",
)

import pytest
from hypothesis import HealthCheck, settings

from local.postgres import PostgresServer
from tests.emulator_process import Emulator, emulator
from tests.support.app import App
from tests.support.http_watch import HttpWatch, watching_http
from tests.support.logs import Logs, capturing
from tests.support.postgres import NEWEST, Servers, database_of_its_own, in_memory

# How long an example takes says how busy the machine is.
settings.register_profile("holdfast", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("holdfast")


@pytest.fixture(autouse=True)
def http_watch() -> Generator[HttpWatch]:
    """Fails a test in which any HTTP request was sent inside a unit of work."""
    with watching_http() as watch:
        yield watch
    watch.check()


@pytest.fixture(scope="session")
def postgres_servers() -> Generator[Servers]:
    """A server a version, each started when it is first needed."""
    with TemporaryDirectory(dir=in_memory(), prefix="holdfast-tests-") as folder:
        servers = Servers(Path(folder))
        try:
            yield servers
        finally:
            servers.stop()


@pytest.fixture
def postgres_version(request: pytest.FixtureRequest) -> str:
    """The newest; a test marked `on_every_postgres` runs on each."""
    return getattr(request, "param", NEWEST)


@pytest.fixture
def postgres(postgres_servers: Servers, postgres_version: str) -> PostgresServer:
    """The server, with the migrated template database."""
    return postgres_servers[postgres_version]


@pytest.fixture
def database_name(postgres: PostgresServer) -> Generator[str]:
    """A migrated database of the test's own."""
    with database_of_its_own(postgres) as name:
        yield name


@pytest.fixture(scope="session")
def stripe_account(tmp_path_factory: pytest.TempPathFactory) -> Generator[Emulator]:
    """Stripe's emulator as a process; it delivers no events by itself."""
    with emulator(tmp_path_factory.mktemp("stripe")) as running:
        yield running


@pytest.fixture
def app(
    postgres: PostgresServer, database_name: str, stripe_account: Emulator, monkeypatch: pytest.MonkeyPatch
) -> Generator[App]:
    """The functions, over a database of the test's own and Stripe's emulator."""
    app = App(
        postgres.url(database=database_name),
        postgres.url("app", database_name),
        postgres.url("error_writer", database_name),
        stripe_account,
        monkeypatch,
    )
    try:
        yield app
    finally:
        app.close()
        stripe_account.faults()


@pytest.fixture
def logs(capsys: pytest.CaptureFixture[str]) -> Generator[Logs]:
    """What the functions log and count in this test."""
    with capturing(capsys) as captured:
        yield captured
