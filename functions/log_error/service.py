"""An error report: scrubbed, fingerprinted, counted exactly, sampled with a cap."""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field

from database import errors
from database.connection import Database
from domain.errors import ISSUES_AN_HOUR, fingerprint
from domain.refusals import TooManyRequests
from domain.scrubbing import scrub, scrub_context
from runtime.fields import RequestModel
from runtime.limits import owner_of
from runtime.observability import count
from runtime.sentry import send_to_sentry
from runtime.settings import DatabaseSettings, credential, load

# Errors that nobody has reported before, which one address may bring in an hour. A page has a few; a known one is counted
# whoever brings it, and however often.
NEW_GROUPS_AN_HOUR = 60

# Characters of each that are kept. A longer one is cut, once it is scrubbed: no report is lost, no half of a secret left.
LONGEST_MESSAGE, LONGEST_STACK, LONGEST_URL, LONGEST_NAME = 10_000, 50_000, 2_000, 200


class Settings(DatabaseSettings):
    """What `log-error` is told; whether there is a tracker it needs to know, and no more of it."""

    github_repository: str | None = None
    sentry_dsn: str | None = None


class ErrorReport(RequestModel):
    """What a page or a function reports."""

    message: Annotated[str, Field(min_length=1)]
    stack: str | None = None
    severity: Literal["debug", "info", "warning", "error", "critical"]
    function_name: str | None = None
    source: Literal["frontend", "backend"] = "frontend"
    release: str | None = None
    url: str | None = None
    context: dict[str, Any] = Field(default={})
    fingerprint: Annotated[list[str], Field(min_length=1)] | None = None


class OwnFailure(ErrorReport):
    """What a function of ours hands over: of which of its requests, and how many failures it stands for."""

    request_id: str
    times: Annotated[int, Field(ge=1)] = 1


@cache
def _database() -> Database:
    return Database(credential(Settings, "database_url"))


def record(report: ErrorReport, request_id: str, address: str | None = None) -> dict[str, Any]:
    """Counts the report in its group: `{"fingerprint", "occurrence_count", "new"}`; one round trip whatever the flood.

    Raises `TooManyRequests` where the address has brought too many errors that nobody knew. None: one of our own.
    """
    settings = load(Settings)
    group = fingerprint(report.source, None, report.message, report.stack, report.fingerprint)
    title = scrub(report.message)[:LONGEST_MESSAGE]
    stack = _kept(report.stack, LONGEST_STACK)
    function_name, release = (_kept(name, LONGEST_NAME) for name in (report.function_name, report.release))
    url = _kept(report.url, LONGEST_URL)
    context = scrub_context(report.context)
    outcome = _database().run(
        lambda conn: errors.report_error(
            conn,
            fingerprint=group,
            severity=report.severity,
            source=report.source,
            title=title,
            function_name=function_name,
            stack_trace=stack,
            context=context,
            release=release,
            url=url,
            request_id=request_id,
            times=report.times if isinstance(report, OwnFailure) else 1,
            opener=address and owner_of(address),
            opened_an_hour=NEW_GROUPS_AN_HOUR if address and settings.rate_limits else None,
            issues_an_hour=ISSUES_AN_HOUR if settings.github_repository else None,
        )
    )
    if outcome["outcome"] == "too-many-requests":
        count("ErrorReportLimited")
        raise TooManyRequests(retry_after=outcome["retry_after"])
    count("ErrorReported")
    if report.severity == "critical":
        count("CriticalError")
    if outcome["new"]:
        count("ErrorGroupOpened")
    if outcome["sampled"] and settings.sentry_dsn:
        send_to_sentry(
            settings.sentry_dsn,
            environment=settings.environment,
            release=release or settings.release,
            severity=report.severity,
            message=title,
            fingerprint=group,
            tags={"request_id": request_id, "source": report.source, "function_name": function_name},
            extra={"stack": stack, "context": context, "url": url},
        )
    return {"fingerprint": group, "occurrence_count": outcome["occurrence_count"], "new": outcome["new"]}


def _kept(text: str | None, longest: int) -> str | None:
    return text and scrub(text)[:longest]
