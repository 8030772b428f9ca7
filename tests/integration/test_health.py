"""`health`: alive always, ready when the deployment can work."""

import pytest

from functions.health.service import EXPECTED_MIGRATION
from tests.support.app import App
from tests.support.postgres import MIGRATIONS, on_every_postgres


def test_live_is_always_200(app: App) -> None:
    """Alive without a database and without settings."""
    app.unset("DATABASE_URL", "STRIPE_SECRET_KEY")
    assert app.call("health", "GET", "/live").status == 200


@on_every_postgres
def test_ready_names_each_part(app: App) -> None:
    """200 with the database reached, its migrations current, and the kind of Stripe key."""
    answer = app.call("health", "GET", "/ready")
    assert answer.status == 200
    assert answer.body["database"] == {"reached": True, "migrations_current": True}
    assert answer.body["stripe"]["key_mode"] == "test"


def test_without_a_database_it_is_503(app: App) -> None:
    """503 with the state of each part, soon, and a time to come again."""
    app.set(DATABASE_URL="postgresql://app@127.0.0.1:9/nowhere")
    answer = app.call("health", "GET", "/ready")
    assert answer.status == 503
    assert answer.body["database"] == {"reached": False, "migrations_current": False}
    assert int(answer.headers["Retry-After"]) > 0
    assert app.call("health", "GET", "/live").status == 200


@pytest.mark.parametrize("migration", [EXPECTED_MIGRATION, "%"])
def test_with_migrations_missing_it_is_503(app: App, migration: str) -> None:
    """A database older than the code is not ready."""
    app.rows("DELETE FROM schema_migrations WHERE name LIKE %s", migration)
    answer = app.call("health", "GET", "/ready")
    assert answer.status == 503
    assert answer.body["database"] == {"reached": True, "migrations_current": False}


def test_the_expected_migration_is_the_newest() -> None:
    """The code names the newest migration of the folder."""
    assert max(path.name for path in MIGRATIONS.glob("[0-9]*.sql")) == EXPECTED_MIGRATION


def test_a_key_of_the_other_mode_is_not_ready(app: App) -> None:
    """A live key where test is configured, or the other way round."""
    app.set(STRIPE_SECRET_KEY="sk_live_abcdefghijklmnop")
    assert app.call("health", "GET", "/ready").status == 503
    app.set(LIVEMODE="true")
    answer = app.call("health", "GET", "/ready")
    assert (answer.status, answer.body["stripe"]["key_mode"]) == (200, "live")
