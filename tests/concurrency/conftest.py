"""A shop a test, on a clone of the migrated database."""

from collections.abc import Generator
from pathlib import Path
from uuid import uuid4

import pytest

from functions.migrate.service import apply_migrations
from local.postgres import PostgresServer
from local.sample_data import load
from tests.concurrency.shop import Shop

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[PostgresServer]:
    server = PostgresServer(tmp_path_factory.mktemp("postgres"), durable=False)
    server.start()
    try:
        apply_migrations(server.url(), ROOT / "migrations")
        load(server.url())
        yield server
    finally:
        server.stop()


@pytest.fixture
def shop(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Generator[Shop]:
    name = f"shop_{uuid4().hex}"
    owner_url = server.create_database(name, template="holdfast")
    shop = Shop(owner_url, server.url("app", name))
    monkeypatch.setenv("DATABASE_URL", shop.app_url)
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_x")
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRETS", "whsec_x")
    try:
        yield shop
    finally:
        shop.close()
        server.drop_database(name)
