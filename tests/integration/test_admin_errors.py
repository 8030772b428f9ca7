"""Errors as administrators see and end them."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.app import App
from tests.support.lambda_events import Answer, Context
from tests.support.postgres import on_every_postgres
from tests.support.sign_in import configure, request, token

type Call = Callable[..., Answer]


@pytest.fixture
def ask(app: App, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls `admin` as an administrator, unless another role is named."""
    configure(monkeypatch)

    def call(path: str, *, method: str = "GET", role: str = "admin", **parts: Any) -> Answer:
        answered = app.handler("admin")(request(method, path, bearer=token(role=role), **parts), Context())
        return Answer(answered["statusCode"], answered["body"], answered["headers"])

    return call


def report(app: App, name: str, **fields: object) -> str:
    """The fingerprint of a reported error."""
    body = {"message": f"boom {name}", "severity": "error", "fingerprint": [name], **fields}
    answer = app.call("log-error", "POST", "/", body)
    assert answer.status == 202, answer
    return answer.body["fingerprint"]


def status(app: App, fingerprint: str) -> str:
    return app.value("SELECT status FROM error_groups WHERE fingerprint = %s", fingerprint)


def test_an_error_is_shown_with_its_count_and_times(app: App, ask: Call) -> None:
    """All that an operator decides by."""
    fingerprint = report(app, "a")
    report(app, "a")
    (shown,) = ask("/errors").body["errors"]
    first, last = app.row("SELECT rfc3339(first_seen), rfc3339(last_seen) FROM error_groups")
    assert shown == {
        "fingerprint": fingerprint,
        "status": "open",
        "severity": "error",
        "source": "frontend",
        "title": "boom a",
        "occurrence_count": 2,
        "first_seen": first,
        "last_seen": last,
        "opened_at": first,
        "openings": 1,
        "issue_url": None,
    }


@on_every_postgres
def test_pages_hold_every_error_once(app: App, ask: Call) -> None:
    """Newest first, of one status or of all, even where several opened at once."""
    names = [report(app, str(number)) for number in range(7)]
    app.rows(
        "UPDATE error_groups SET opened_at = date_trunc('day', now()) - interval '1 day' WHERE fingerprint = ANY (%s)",
        names[:4],
    )
    ask(f"/errors/{names[5]}/resolve", method="POST")
    for query, wanted in (
        ("", set(names)),
        ("status=open&", set(names) - {names[5]}),
        ("status=muted&", set()),
    ):
        found: list[str] = []
        cursor = ""
        while True:
            body = ask("/errors", query=f"{query}limit=2{cursor}").body
            found += [each["fingerprint"] for each in body["errors"]]
            if "next" not in body:
                break
            cursor = f"&cursor={body['next']}"
        assert sorted(found) == sorted(wanted)
    assert ask("/errors").body["errors"][0]["fingerprint"] == names[6]


@on_every_postgres
def test_what_is_resolved_and_seen_again_is_open_again(app: App, ask: Call) -> None:
    """The count goes on; the samples of what was mended make room for new ones."""
    fingerprint = report(app, "a", message="before")
    answer = ask(f"/errors/{fingerprint}/resolve", method="POST")
    assert (answer.status, answer.body["status"]) == (200, "resolved")
    assert app.value("SELECT resolved FROM error_logs") is True
    assert ask(f"/errors/{fingerprint}/resolve", method="POST").body["status"] == "resolved"
    report(app, "a", message="after")
    assert status(app, fingerprint) == "open"
    assert app.row("SELECT occurrence_count, openings FROM error_groups") == (2, 2)
    assert app.row("SELECT error_message, resolved FROM error_logs") == ("after", False)


def test_what_is_muted_stays_so(app: App, ask: Call) -> None:
    """Counted, and nothing else, until it is unmuted."""
    fingerprint = report(app, "a")
    assert ask(f"/errors/{fingerprint}/mute", method="POST").body["status"] == "muted"
    report(app, "a")
    assert (status(app, fingerprint), app.value("SELECT occurrence_count FROM error_groups")) == ("muted", 2)
    assert ask(f"/errors/{fingerprint}/unmute", method="POST").body["status"] == "open"
    assert ask(f"/errors/{fingerprint}/unmute", method="POST").body["openings"] == 2


@pytest.mark.parametrize("fingerprint", ["v1-" + "0" * 64, "no such", "%00", "x" * 200])
def test_an_error_that_nobody_reported_is_not_there(ask: Call, fingerprint: str) -> None:
    answer = ask(f"/errors/{fingerprint}/resolve", method="POST")
    assert (answer.status, answer.problem) == (404, "unknown-error-group")


def test_only_administrators_see_and_change_errors(app: App, ask: Call) -> None:
    fingerprint = report(app, "a")
    assert ask("/errors", role="customer").status == 403
    assert ask(f"/errors/{fingerprint}/resolve", method="POST", role="customer").status == 403
    assert status(app, fingerprint) == "open"


def test_what_is_no_act_is_not_there(app: App, ask: Call) -> None:
    fingerprint = report(app, "a")
    assert ask(f"/errors/{fingerprint}/delete", method="POST").status == 404
    assert ask(f"/errors/{fingerprint}/resolve").status == 405
    assert ask("/errors", query="status=gone").status == 422
