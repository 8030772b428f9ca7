"""`migrate`: brings the database to this version; invoked by the deploy, before traffic moves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from functions.migrate.cloudformation import answer, is_asked_by
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


_run = job(_migrate)


def lambda_handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """What Lambda invokes; CloudFormation, where it asks, is told how that ended."""
    if not is_asked_by(event):
        return _run(event, context)
    try:
        # What a stack leaves behind is its database: deleting the stack changes nothing there.
        result = {} if event["RequestType"] == "Delete" else _run(event, context)
    except Exception:
        answer(event, succeeded=False, log=context.log_stream_name)
        raise
    answer(event, succeeded=True, log=context.log_stream_name)
    return result
