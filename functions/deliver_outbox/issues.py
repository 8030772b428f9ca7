"""The tracker and the groups of errors: one issue a fingerprint, opened again when its error is, resolved when it is closed."""

from collections.abc import Mapping
from typing import Any

from database import errors
from database.connection import Database
from domain.errors import ISSUES_AN_HOUR
from functions.deliver_outbox import issue_text
from functions.deliver_outbox.tracker import Issue, Tracker, TrackerFailed
from runtime.kill_points import kill_point
from runtime.observability import count, logger


def send_issue(database: Database, tracker: Tracker, row: Mapping[str, Any], environment: str) -> None:
    """The group's issue, made or opened again, and the row's end.

    It is looked for first, by its label: an earlier try, whose answer was lost, may have made it. Raises `TrackerFailed`.
    """
    asked = row["payload"]
    error = database.run(lambda conn: errors.fetch_issue(conn, asked["fingerprint"]))
    issue = None
    if error["status"] == "open":  # else a person has said meanwhile that it is nothing to mend
        issue = _issue_of(tracker, error, environment)
        kill_point("outbox.after-issue")
    database.run(
        lambda conn: errors.settle_issue(
            conn,
            row["id"],
            row["attempt"],
            # What was told is at least as new as what was asked for.
            opening=error["openings"],
            number=issue and issue.number,
            url=issue and issue.url,
        )
    )


def _issue_of(tracker: Tracker, error: Mapping[str, Any], environment: str) -> Issue:
    label = issue_text.label(error["fingerprint"])
    issue = tracker.find(label)
    if issue is None:
        count("IssueCreated")
        return tracker.create(issue_text.title(error), issue_text.body(error, environment), label)
    if not issue.is_open:
        tracker.reopen(issue)
        count("IssueReopened")
        try:
            tracker.comment(issue, issue_text.seen_again(error, environment))
        except TrackerFailed:
            # It is open, which is what counts; a second try would find it so, and would not know that this is missing.
            logger.warning("an issue was opened again without a comment", exc_info=True)
    return issue


def hear_of_closed(database: Database, tracker: Tracker, request_id: str) -> None:
    """What was closed in the tracker is resolved here; what was seen since then is asked for again. Raises `TrackerFailed`."""
    if not database.run(errors.has_open_issues):
        return
    closed = tracker.closed()
    if closed:
        database.run(
            lambda conn: errors.hear_of_closed_issues(
                conn, closed, issues_an_hour=ISSUES_AN_HOUR, request_id=request_id
            )
        )
