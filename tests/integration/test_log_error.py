"""`log-error`: counted exactly, kept without secrets, sampled with a cap."""

from typing import Any

import pytest

from tests.support.app import App
from tests.support.lambda_events import Answer
from tests.support.logs import Logs
from tests.support.postgres import on_every_postgres

REPORT = {"message": "TypeError: x is undefined", "severity": "error"}


@pytest.fixture(autouse=True)
def as_error_writer(app: App) -> None:
    """The function connects as the role that reaches the error tables only."""
    app.set(DATABASE_URL=app.error_writer_url)


def report(app: App, **fields: object) -> Answer:
    return app.call("log-error", "POST", "/", REPORT | fields)


@on_every_postgres
def test_an_error_is_counted_in_its_group(app: App) -> None:
    """202 with the group, the exact count and whether it is new."""
    first, second = report(app).body, report(app).body
    other = report(app, message="ValueError: quite another").body
    assert (first["occurrence_count"], first["new"]) == (1, True)
    assert second == {"fingerprint": first["fingerprint"], "occurrence_count": 2, "new": False}
    assert (other["occurrence_count"], other["new"]) == (1, True)
    assert other["fingerprint"] != first["fingerprint"]
    assert app.rows("SELECT fingerprint, occurrence_count FROM error_groups ORDER BY occurrence_count") == [
        (other["fingerprint"], 1),
        (first["fingerprint"], 2),
    ]


def test_everything_that_is_said_is_kept(app: App) -> None:
    """Each column that operators read."""
    answer = report(
        app,
        message="boom",
        stack="Error: boom\n    at pay (https://shop.example/app.js:1:2)",
        severity="critical",
        function_name="checkout",
        source="frontend",
        release="1.2.3",
        url="https://shop.example/checkout",
        context={"step": "pay", "n": 3},
    )
    assert answer.status == 202
    row = app.row("SELECT severity, function_name, error_message, context, release, resolved FROM error_logs")
    assert row == ("critical", "checkout", "boom", {"step": "pay", "n": 3}, "1.2.3", False)
    assert "at pay" in app.value("SELECT stack_trace FROM error_logs")
    assert app.row("SELECT severity, source, title, status FROM error_groups") == (
        "critical",
        "frontend",
        "boom",
        "open",
    )


@on_every_postgres
def test_samples_are_capped_and_the_count_is_not(app: App) -> None:
    """A thousand of one error: an exact count and at most twenty rows."""
    app.rows(
        """
        SELECT report_error('f', 'error', 'frontend', 't', NULL, NULL, '{}', NULL, NULL, n::text, 1, NULL, NULL, NULL)
        FROM generate_series(1, 1000) AS n
        """
    )
    assert app.value("SELECT occurrence_count FROM error_groups") == 1000
    assert app.count("error_logs") == 20


def test_a_client_may_name_the_group(app: App) -> None:
    """Its own fingerprint decides."""
    one = report(app, message="a 1", fingerprint=["checkout", "card"]).body
    two = report(app, message="quite different", fingerprint=["checkout", "card"]).body
    assert one["fingerprint"] == two["fingerprint"]
    assert two["occurrence_count"] == 2


SECRETS = {
    "4242424242424242": "card 4242424242424242 declined",
    "ada@example.com": "no mail to ada@example.com",
    "pi_3abc_secret_def456": "secret pi_3abc_secret_def456 leaked",
    "sk_test_abcdefghijklmnop1234": "key sk_test_abcdefghijklmnop1234",
    "eyJhbGciOiJIUzI1NiJ9": "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlc2lnbmF0dXJl",
}


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_gone_before_storage_and_logs(app: App, logs: Logs, secret: str) -> None:
    """Card numbers, addresses, client secrets, keys and tokens, wherever they stand in the report."""
    text = SECRETS[secret]
    answer = report(
        app,
        message=text,
        stack=f"Error: {text}",
        function_name=text,
        release=text,
        url=f"https://shop.example/?q={text}",
        context={"deep": [{"note": text, text: 1}], "token": secret, "password": secret},
        fingerprint=None,
    )
    assert answer.status == 202
    assert secret not in str(app.dump())
    assert secret not in logs.text
    assert secret not in answer.text


@pytest.mark.parametrize(
    ("pointer", "change"),
    [
        ("/message", {"message": ""}),
        ("/message", {"message": None}),
        ("/message", {"message": "x" * 10_001}),
        ("/severity", {"severity": "fatal"}),
        ("/source", {"source": "elsewhere"}),
        ("/stack", {"stack": 5}),
        ("/context", {"context": []}),
        ("/fingerprint", {"fingerprint": []}),
        ("/fingerprint", {"fingerprint": "x"}),
        ("/function_name", {"function_name": "x" * 201}),
        ("/user", {"user": "me"}),
    ],
)
def test_a_field_that_does_not_fit_is_named(app: App, pointer: str, change: dict[str, Any]) -> None:
    """422 points at the field that is wrong, and nothing is counted."""
    answer = report(app, **change)
    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert pointer in [error["pointer"] for error in answer.body["errors"]]
    assert app.count("error_groups") == 0


def test_more_than_64_kib_is_413(app: App) -> None:
    """64 KiB at most; just below is taken."""
    assert report(app, context={"x": "y" * 65_536}).problem == "body-too-large"
    assert report(app, context={"x": "y" * 60_000}).status == 202


@pytest.mark.parametrize(
    "context",
    [
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": 1e999}',
        '{"a": "\\u0000"}',
        '{"\\u0000": 1}',
        '{"a": "\\ud800"}',
        '{"a": ' + "9" * 5000 + "}",
        '{"a": ' * 300 + "1" + "}" * 300,
        '{"": {"": []}}',
    ],
    ids=range(9),
)
def test_odd_json_is_taken_or_refused(app: App, context: str) -> None:
    """What JSON can say and PostgreSQL cannot hold is no failure of ours."""
    answer = app.call(
        "log-error", "POST", "/", '{"message": "m", "severity": "error", "context": ' + context + "}"
    )
    assert answer.status in (202, 400, 422), answer


@pytest.mark.parametrize("text", ["a\x00b", "\x00", "\x1b[31m", "ü" * 100, "\u202e", "🎟"])
def test_odd_text_is_taken(app: App, text: str) -> None:
    """Whatever a page sends as text is counted."""
    answer = report(
        app, message=text, stack=text, function_name=text, release=text, url=text, context={text: text}
    )
    assert answer.status == 202, answer
