"""The audit's entries, sealed in batches, one commit each; nobody who writes waits for it."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any

from pydantic import Field

from database import audit
from database.connection import Database
from database.jobs import finish_job
from runtime.jobs import Budget
from runtime.settings import DatabaseSettings, credential, load

BATCH = 2000


class Settings(DatabaseSettings):
    """What `seal-audit` is told."""

    # Seven years, leap days included. The database refuses less than one.
    audit_days: Annotated[int, Field(ge=366, le=36500)] = 2557


@cache
def _database() -> Database:
    return Database(credential(Settings, "database_url"))


def seal(request_id: str, budget: Budget) -> dict[str, Any]:
    """Seals what is older than every open transaction: `{"sealed", "removed", "head", "more"}`.

    `head` is the chain's end, `position:hash`. It goes to the log, too, where who may change the database does not
    reach it.
    """
    started_at = datetime.now(UTC)
    keep = timedelta(days=load(Settings).audit_days)
    result: dict[str, Any] = {"sealed": 0, "removed": 0, "head": "", "more": False}
    last = BATCH
    while last == BATCH and not budget.is_spent:
        batch = _database().run(lambda conn: audit.seal_audit(conn, limit=BATCH))
        last = batch["sealed"]
        result["sealed"] += last
        result["head"] = batch["head"]
    removed = BATCH
    while removed == BATCH and not budget.is_spent:
        removed = _database().run(lambda conn: audit.prune_audit(conn, keep=keep, limit=BATCH))
        result["removed"] += removed
    result["more"] = budget.is_spent
    _database().run(
        lambda conn: finish_job(
            conn, "seal-audit", request_id=request_id, started_at=started_at, result=result
        )
    )
    return result
