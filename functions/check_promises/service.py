"""Every promise looked at, each within a statement's time, and what waits for somebody: what alarms are rung by."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

from database import operations, promises
from database.connection import Connection, Database
from database.jobs import finish_job
from domain.refusals import DatabaseUnavailable
from runtime.jobs import Budget
from runtime.observability import logger
from runtime.settings import DatabaseSettings, credential


@cache
def _database() -> Database:
    return Database(credential(DatabaseSettings, "database_url"))


def check(request_id: str, budget: Budget) -> dict[str, Any]:
    """What was found, each number a metric: `invariant_violations`, `invariants_unchecked`, what waits, and how long.

    `figures` are those of `GET /stats`; null where one could not be counted in a statement's time. Reads alone, but
    for the row of its run.
    """
    started_at = datetime.now(UTC)
    result: dict[str, Any] = dict(_database().run(promises.unsettled_figures))
    found = {name: None if budget.is_spent else _in_time(_violations(name)) for name in promises.INVARIANTS}
    broken = {name: number for name, number in found.items() if number}
    if broken:
        logger.error("promises are broken", extra={"broken": broken})
    result |= {
        "invariant_violations": sum(broken.values()),
        "invariants_unchecked": list(found.values()).count(None),
        "broken": broken,
        "figures": _figures(),
    }
    _database().run(
        lambda conn: finish_job(
            conn, "check-promises", request_id=request_id, started_at=started_at, result=result
        )
    )
    return result


def _figures() -> dict[str, Any] | None:
    figures: dict[str, Any] = {}
    for count in operations.COUNTS:
        if (counted := _in_time(count)) is None:
            return None
        figures |= counted
    return figures


def _violations(invariant: str) -> Callable[[Connection], int]:
    return lambda conn: promises.count_violations(conn, invariant)


def _in_time[T](ask: Callable[[Connection], T]) -> T | None:
    """The answer; None where the tables have outgrown a statement's time: what else there is to ask has its turn."""
    try:
        return _database().run(ask)
    except DatabaseUnavailable:
        logger.warning("the database did not answer in time")
        return None
