"""`log-error`: counted exactly, kept without secrets, sampled with a cap."""

import gzip
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from functions.log_error.service import NEW_GROUPS_AN_HOUR
from runtime import failures
from runtime.sentry import _client
from tests.concurrency.guards import begin_window
from tests.emulator_process import eventually
from tests.support.app import App
from tests.support.lambda_events import SOURCE_IP, Answer, Context
from tests.support.logs import Logs
from tests.support.postgres import on_every_postgres
from tests.support.receiver import Receiver, receiving
from tests.support.round_trips import Cut, proxied

REPORT = {"message": "TypeError: x is undefined", "severity": "error"}


@pytest.fixture(autouse=True)
def as_error_writer(app: App) -> None:
    """The function connects as the role that reaches the error tables only; no hour ends in the middle of a test."""
    app.set(DATABASE_URL=app.error_writer_url)
    begin_window(app.owner_url, "take_of_hour")


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
        ("/severity", {"severity": "fatal"}),
        ("/source", {"source": "elsewhere"}),
        ("/stack", {"stack": 5}),
        ("/context", {"context": []}),
        ("/fingerprint", {"fingerprint": []}),
        ("/fingerprint", {"fingerprint": "x"}),
        ("/user", {"user": "me"}),
    ],
)
def test_a_field_that_does_not_fit_is_named(app: App, pointer: str, change: dict[str, Any]) -> None:
    """422 points at the field that is wrong, and nothing is counted."""
    answer = report(app, **change)
    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert pointer in [error["pointer"] for error in answer.body["errors"]]
    assert app.count("error_groups") == 0


@pytest.mark.parametrize("field", ["message", "stack", "function_name", "release", "url"])
def test_what_is_too_long_to_keep_is_cut_and_counted(app: App, field: str) -> None:
    """Whatever fits into 64 KiB is no report lost; where it is cut, half a secret is not left."""
    longest = {"message": 10_000, "stack": 50_000, "url": 2_000}.get(field, 200)
    text = "x" * (longest - 10) + " 4242 4242 4242 4242 " + "y" * 10_000
    assert report(app, **{field: text}).status == 202
    assert report(app, fingerprint=[text]).status == 202
    column = {"message": "error_message", "stack": "stack_trace"}.get(field, field)
    (kept,) = [each for (each,) in app.rows(f"SELECT {column} FROM error_logs") if each and "xxx" in each]
    assert kept == ("x" * (longest - 10) + " [card] yyy")[:longest]


def test_half_a_secret_of_a_long_stack_of_ours_is_not_told(monkeypatch: pytest.MonkeyPatch, app: App) -> None:
    """Its end says where it broke: what is cut off is its beginning, perhaps through a token."""
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(failures, "_send", lambda _function, _name, report: told.append(report))
    app.set(LOG_ERROR_FUNCTION="holdfast-log-error:live")
    token = "6c0a9f31" * 8
    failures._breaker.cache_clear()
    failures.report_failure(ValueError(token + " x" * (failures.STACK_LENGTH // 2 - 16)), Context())
    failures._breaker.cache_clear()
    (report,) = told
    assert report["stack"].endswith(" x x\n")
    assert token[-20:] not in report["stack"]


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


def flood(app: App, number: int, address: str | None = None) -> list[Answer]:
    """So many different errors, from one address."""
    headers = {}
    if address:
        app.set(FRONT_SECRET="vouched for")
        headers = {"x-front-secret": "vouched for", "x-viewer-address": address}
    return [
        app.call("log-error", "POST", "/", REPORT | {"message": f"error {'x' * n}"}, headers)
        for n in range(1, number + 1)
    ]


@on_every_postgres
def test_one_address_brings_so_many_new_errors_an_hour(app: App) -> None:
    """Capped with 429, and bounded in rows; what is known is still counted, and others are still heard."""
    answers = flood(app, NEW_GROUPS_AN_HOUR + 5)
    assert [answer.status for answer in answers] == [202] * NEW_GROUPS_AN_HOUR + [429] * 5
    assert answers[-1].problem == "too-many-requests"
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 3600
    assert app.count("error_groups") == app.count("error_logs") == NEW_GROUPS_AN_HOUR
    assert report(app, message="error x").body["occurrence_count"] == 2
    assert flood(app, NEW_GROUPS_AN_HOUR + 6, "198.51.100.9")[-1].status == 202
    app.rows("UPDATE rate_limits SET window_start = window_start - interval '1 hour'")
    assert report(app, message="error " + "y" * 3).status == 202


def test_an_ipv6_network_is_one_address(app: App) -> None:
    """Whoever has one of its addresses has 2^64 of them."""
    assert flood(app, NEW_GROUPS_AN_HOUR, "2001:db8::1")[-1].status == 202
    headers = {"x-front-secret": "vouched for", "x-viewer-address": "2001:db8::ffff:2"}
    assert app.call("log-error", "POST", "/", REPORT | {"message": "other"}, headers).status == 429
    headers["x-viewer-address"] = "2001:db8:0:1::1"
    assert app.call("log-error", "POST", "/", REPORT | {"message": "other"}, headers).status == 202


def test_an_address_is_not_kept(app: App) -> None:
    """The hour's bucket has a digest of it, and goes with the hour."""
    report(app)
    assert SOURCE_IP not in str(app.dump()) + str(app.rows("SELECT * FROM rate_limits"))
    app.rows("UPDATE rate_limits SET ends_at = ends_at - interval '1 hour'")
    app.set(DATABASE_URL=app.app_url)
    app.invoke("reservation-cleanup")
    assert app.count("rate_limits") == 0


def test_without_rate_limits_there_is_no_cap(app: App) -> None:
    """On a local stack alone."""
    app.set(RATE_LIMITS="off")
    assert flood(app, NEW_GROUPS_AN_HOUR + 1)[-1].status == 202


def test_a_report_is_one_round_trip(app: App) -> None:
    """New, known and refused alike."""
    with proxied(app.error_writer_url) as (proxy, url):
        app.set(DATABASE_URL=url)
        report(app, message="first, with the connection's own")
        proxy.count()
        for answer in (report(app), report(app), *flood(app, NEW_GROUPS_AN_HOUR)):
            assert answer.status in (202, 429)
            assert proxy.count() <= 1 or answer.status == 202
        report(app)
        proxy.count()
        report(app)
        assert proxy.count() == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_report_whose_connection_is_cut_is_counted_once(app: App, when: Cut) -> None:
    """Before the database heard it, or after it had committed: the second try finds the first."""
    report(app)
    with proxied(app.error_writer_url) as (proxy, url):
        app.set(DATABASE_URL=url)
        proxy.cut(when, b"report_error")
        assert report(app).body["occurrence_count"] == 2
        assert proxy.cuts == 1
    assert app.row("SELECT occurrence_count, samples FROM error_groups")[0] == 2
    assert app.count("error_logs") == 2


def test_a_known_error_changes_no_index(app: App) -> None:
    """A flood of one error rewrites one row within its page (HOT), and adds none."""
    app.rows(
        """
        SELECT report_error('f', 'error', 'frontend', 't', NULL, NULL, '{}', NULL, NULL, n::text, 1, NULL, NULL, NULL)
        FROM generate_series(1, 25) AS n
        """
    )
    before = app.value(
        "SELECT pg_relation_size('error_groups_by_status') + pg_relation_size('error_groups_pkey')"
    )
    for number in range(300):
        app.rows(
            "SELECT report_error('f', 'error', 'frontend', 't', NULL, NULL, '{}', NULL, NULL, %s, 1, NULL, NULL, NULL)",
            f"again {number}",
        )
    after = app.value(
        "SELECT pg_relation_size('error_groups_by_status') + pg_relation_size('error_groups_pkey')"
    )
    assert (after, app.count("error_logs")) == (before, 20)
    app.rows("SELECT pg_stat_force_next_flush()")
    updated, hot = app.row(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'error_groups'"
    )
    assert hot / updated > 0.9


# Sentry.


@pytest.fixture
def sentry(app: App) -> Iterator[Receiver]:
    """Where a DSN leads."""
    with receiving() as receiver:
        app.set(
            SENTRY_DSN=receiver.url.replace("://", "://public@") + "/1",
            ENVIRONMENT="staging",
            RELEASE="1.4.2",
        )
        yield receiver
        _client.cache_clear()


def sentry_events(receiver: Receiver) -> list[dict[str, Any]]:
    """The events of the envelopes that came."""
    events: list[dict[str, Any]] = []
    for request in receiver.received:
        body = gzip.decompress(request.body) if request.body[:2] == b"\x1f\x8b" else request.body
        events += [
            document
            for line in body.splitlines()
            if "event_id" in (document := json.loads(line)) and "level" in document
        ]
    return events


def test_sentry_gets_what_is_sampled(app: App, sentry: Receiver) -> None:
    """Release, environment, request id and the group; and of a flood no more than is stored."""
    stack = "Error: x\n    at pay (https://shop.example/app.js:1:2)"
    first = report(app, stack=stack, severity="critical", release="2.0")
    for _ in range(24):
        report(app, stack=stack)
    eventually(lambda: len(sentry_events(sentry)) == 20)
    events = sentry_events(sentry)
    assert len(events) == app.count("error_logs") == 20
    event = events[0]
    assert (event["release"], event["environment"], event["level"]) == ("2.0", "staging", "fatal")
    assert event["fingerprint"] == [first.body["fingerprint"]]
    assert event["tags"]["request_id"] == first.headers["X-Request-Id"]
    assert "app.js" in event["extra"]["stack"]
    assert events[1]["release"] == "1.4.2"


def test_sentry_hears_of_nobody(app: App, sentry: Receiver) -> None:
    """No secret, no address, no user, no host, no local variable, wherever the report had them."""
    text = "; ".join(SECRETS.values())
    report(
        app, message=text, stack=text, url=f"https://shop.example/?q={text}", context={"note": text, text: 1}
    )
    eventually(lambda: sentry_events(sentry) != [])
    (event,) = sentry_events(sentry)
    told = json.dumps(event)
    for secret in (*SECRETS, SOURCE_IP, socket.gethostname(), '"user"', '"vars"', '"breadcrumbs"'):
        assert secret not in told, secret


@pytest.mark.parametrize("status", [500, 429])
def test_sentry_away_is_nobody_s_trouble(app: App, sentry: Receiver, status: int) -> None:
    """The report is counted and answered all the same, within a moment."""
    sentry.status = status
    assert report(app).status == 202
    app.set(SENTRY_DSN="http://public@127.0.0.1:9/1")
    assert report(app).status == 202
    sentry.delay_s = 6
    app.set(SENTRY_DSN=sentry.url.replace("://", "://public@") + "/1")
    began = time.monotonic()
    assert report(app).body["occurrence_count"] == 3
    assert time.monotonic() - began < 4


def test_a_dsn_that_is_none_is_nobody_s_trouble(app: App) -> None:
    app.set(SENTRY_DSN="nonsense")
    assert report(app).status == 202
