"""Whether this deployment can work: the database, its migrations, the kind of Stripe key, the webhook inbox."""

from functools import cache
from typing import Any

from database.connection import Database
from database.readiness import latest_migration
from domain.refusals import Refusal
from runtime.inbox import inbox_answers
from runtime.settings import DatabaseSettings, credential, load

# The newest migration that this code was written for; a test holds it against the folder.
EXPECTED_MIGRATION = "0033_refunds_that_failed.sql"


class Settings(DatabaseSettings):
    """What `health` is told."""

    stripe_secret_key: str
    livemode: bool = False
    webhook_inbox_queue_url: str | None = None


@cache
def _database() -> Database:
    return Database(credential(Settings, "database_url"))


def readiness() -> tuple[bool, dict[str, Any]]:
    """Whether all parts are ready, and the state of each."""
    settings = load(Settings)
    try:
        migration = _database().run(latest_migration)
        database = {"reached": True, "migrations_current": (migration or "") >= EXPECTED_MIGRATION}
    except Refusal:
        database = {"reached": False, "migrations_current": False}
    key_mode = "live" if "_live_" in settings.stripe_secret_key[:8] else "test"
    stripe = {"key_mode": key_mode, "fits_livemode": (key_mode == "live") == settings.livemode}
    queue_url = settings.webhook_inbox_queue_url
    queue = {
        "configured": queue_url is not None,
        "reached": queue_url is not None and inbox_answers(queue_url),
    }
    # Without the queue every webhook is still applied, or brought again by Stripe: a state to mend, not to stop for.
    ready = all(database.values()) and stripe["fits_livemode"] is True
    parts = {"database": database, "stripe": stripe, "queue": queue}
    return ready, {"status": "ready" if ready else "unready", **parts}
