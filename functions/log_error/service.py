"""An error report: scrubbed, fingerprinted, counted exactly, sampled with a cap."""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from database import errors
from database.connection import Database
from domain.errors import fingerprint
from domain.scrubbing import scrub, scrub_context
from runtime.observability import count
from runtime.settings import DatabaseSettings, load

type Short = Annotated[str, Field(max_length=200)]


class ErrorReport(BaseModel):
    """What a page or a function reports."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    message: Annotated[str, Field(min_length=1, max_length=10_000)]
    stack: Annotated[str | None, Field(max_length=50_000)] = None
    severity: Literal["debug", "info", "warning", "error", "critical"]
    function_name: Short | None = None
    source: Literal["frontend", "backend"] = "frontend"
    release: Short | None = None
    url: Annotated[str | None, Field(max_length=2_000)] = None
    context: dict[str, Any] = {}
    fingerprint: Annotated[list[Short], Field(min_length=1, max_length=10)] | None = None


@cache
def _database() -> Database:
    return Database(load(DatabaseSettings).database_url)


def record(report: ErrorReport, request_id: str) -> dict[str, Any]:
    """Counts the report in its group; one round trip whatever the flood."""
    group = fingerprint(report.source, None, report.message, report.stack, report.fingerprint)
    occurrences, is_new = _database().run(
        lambda conn: errors.record_error(
            conn,
            fingerprint=group,
            severity=report.severity,
            source=report.source,
            title=scrub(report.message),
            function_name=report.function_name and scrub(report.function_name),
            stack_trace=report.stack and scrub(report.stack),
            context=scrub_context(report.context),
            release=report.release and scrub(report.release),
            url=report.url and scrub(report.url),
            request_id=request_id,
        )
    )
    count("ErrorReported")
    if is_new:
        count("ErrorGroupOpened")
    return {"fingerprint": group, "occurrence_count": occurrences, "new": is_new}
