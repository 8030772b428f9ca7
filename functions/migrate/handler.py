"""`migrate`: brings the database to this version; invoked by the deploy, before traffic moves."""

from pathlib import Path
from typing import Any

from functions.migrate.service import apply_migrations
from runtime.jobs import Budget, job
from runtime.settings import Settings, load


class MigrateSettings(Settings):
    """What `migrate` is told. The owner's URL must be a direct one."""

    database_owner_url: str
    migrations_dir: Path


def _migrate(_request_id: str, _budget: Budget) -> dict[str, Any]:
    settings = load(MigrateSettings)
    return apply_migrations(settings.database_owner_url, settings.migrations_dir)


lambda_handler = job(_migrate)
