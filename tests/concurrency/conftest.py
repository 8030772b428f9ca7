"""A shop a test, on a clone of the migrated database, and the functions over it."""

from collections.abc import Generator

import pytest

from database.connection import CONNECT_OPTIONS
from local.postgres import PostgresServer
from runtime import settings
from tests.concurrency.shop import Shop
from tests.concurrency.till import Till
from tests.emulator_process import SECRET_KEY, Emulator
from tests.support.app import SETTINGS

CROWD_SECONDS = 60


@pytest.fixture
def shop(postgres: PostgresServer, database_name: str, monkeypatch: pytest.MonkeyPatch) -> Generator[Shop]:
    """Sells on a database of the test's own, which may be robbed of its guards."""
    shop = Shop(postgres.url(database=database_name), postgres.url("app", database_name))
    for name, value in (*SETTINGS.items(), ("DATABASE_URL", shop.app_url), ("STRIPE_SECRET_KEY", SECRET_KEY)):
        monkeypatch.setenv(name, value)
    settings._load.cache_clear()
    # Who wins is what a race asks; on a busy machine a crowd waits longer for its turn than a buyer would.
    limits = {
        "lock_timeout": "30s",
        "statement_timeout": "60s",
        "idle_in_transaction_session_timeout": "60s",
    }
    for name, value in limits.items():
        shop.rows(f"ALTER ROLE app IN DATABASE {database_name} SET {name} = '{value}'")
    monkeypatch.setattr("database.connection.ANSWER_SECONDS", 65.0)
    monkeypatch.setattr(
        "database.connection.CONNECT_OPTIONS", {**CONNECT_OPTIONS, "connect_timeout": CROWD_SECONDS}
    )
    monkeypatch.setattr("functions.deliver_outbox.service.NOTIFICATION_TIMEOUT_SECONDS", CROWD_SECONDS)
    monkeypatch.setattr("functions.deliver_outbox.tracker.TIMEOUT_SECONDS", CROWD_SECONDS)
    try:
        yield shop
    finally:
        settings._load.cache_clear()
        shop.close()


@pytest.fixture
def till(shop: Shop, stripe_account: Emulator, monkeypatch: pytest.MonkeyPatch) -> Generator[Till]:
    """The functions' code over the shop."""
    yield Till(shop, stripe_account, monkeypatch)
    stripe_account.faults()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the long form of a race out unless `-m` asks for it."""
    if "long" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
