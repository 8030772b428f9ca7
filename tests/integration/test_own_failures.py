"""A function's own failure goes the way of every report, and is nobody's trouble but its own."""

import json
import time
from collections.abc import Generator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from runtime import failures, outbox_kick
from tests.support.app import App
from tests.support.lambda_events import Answer, Context
from tests.support.logs import Logs
from tests.support.queue import inbox_of
from tests.support.receiver import Receiver, receiving
from tests.support.reconciliation import all_due, paid, poison
from tests.support.stripe_events import event_of

CANARIES = ["4242424242424242", "ada@example.com", "_secret_def456", "abcdefghijklmnop1234"]
SECRET_TEXT = "card 4242424242424242 of ada@example.com, pi_3abc_secret_def456, sk_test_abcdefghijklmnop1234"


@pytest.fixture
def lambda_service(app: App, monkeypatch: pytest.MonkeyPatch) -> Generator[Receiver]:
    """AWS Lambda, as far as invoking asynchronously goes."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with receiving() as receiver:
        receiver.status = 202
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", receiver.url)
        app.set(LOG_ERROR_FUNCTION="holdfast-log-error:live")
        for cached in (outbox_kick.lambda_client, failures._breaker):
            cached.cache_clear()
        outbox_kick.lambda_client()  # a warm environment's: making one takes a while
        yield receiver
        for cached in (outbox_kick.lambda_client, failures._breaker):
            cached.cache_clear()


def break_offerings(app: App, text: str = "offerings are broken") -> None:
    """From now on `GET /offerings` fails with this text, in PostgreSQL."""
    app.rows("DROP FUNCTION IF EXISTS break_it; ALTER TABLE offerings RENAME TO broken")
    app.rows(
        f"CREATE FUNCTION break_it() RETURNS SETOF broken LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{text}'; END $$"
    )
    app.rows("CREATE VIEW offerings AS SELECT * FROM break_it()")
    app.rows("GRANT SELECT ON offerings TO app")


def offerings(app: App) -> Answer:
    return app.call("reservations", "GET", "/offerings")


def take(app: App, receiver: Receiver) -> list[Mapping[str, Any]]:
    """What `log-error` answers to all that was handed over, in its own role."""
    app.set(DATABASE_URL=app.error_writer_url)
    answers = [app.invoke("log-error", request.document) for request in receiver.received]
    app.set(DATABASE_URL=app.app_url)
    receiver.received.clear()
    return answers


def test_an_uncaught_failure_is_counted_in_its_group(app: App, lambda_service: Receiver) -> None:
    """Handed over asynchronously, it is an error like another: grouped, sampled, with its request and place."""
    break_offerings(app)
    answer = offerings(app)
    assert (answer.status, answer.problem) == (500, "internal-error")
    offerings(app)
    assert [request.headers["X-Amz-Invocation-Type"] for request in lambda_service.received] == ["Event"] * 2
    assert "holdfast-log-error" in lambda_service.received[0].path
    first, second = take(app, lambda_service)
    assert (first["occurrence_count"], first["new"]) == (1, True)
    assert (second["occurrence_count"], second["new"]) == (2, False)
    source, severity, title = app.row("SELECT source, severity, title FROM error_groups")
    assert (source, severity) == ("backend", "error")
    assert "offerings are broken" in title
    name, stack, request_id = app.rows(
        "SELECT function_name, stack_trace, request_id FROM error_logs ORDER BY id"
    )[0]
    assert (name, request_id) == ("tests-reservations", answer.headers["X-Request-Id"])
    assert "functions/reservations/service.py" in stack


def test_a_failed_run_is_reported_and_still_fails(app: App, lambda_service: Receiver) -> None:
    """Whoever invoked it hears of the exception itself."""
    app.rows("DROP FUNCTION claim_outbox")
    with pytest.raises(Exception, match="claim_outbox"):
        app.invoke("deliver-outbox")
    take(app, lambda_service)
    assert "claim_outbox" in app.value("SELECT title FROM error_groups")


# What one item of many fails with is caught, so that the others go on.


def reported(receiver: Receiver) -> list[tuple[str, str]]:
    """The function and the first line of each report since the last look."""
    reports = [request.document for request in receiver.received]
    receiver.received.clear()
    return [(report["function_name"], report["message"].splitlines()[0]) for report in reports]


def test_a_defect_in_applying_an_event_is_reported_once_by_whoever_brings_it(
    app: App, lambda_service: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stripe, the inbox or reconciliation: kept as failed, and in the error tracking with the request that met it."""
    poison(app)
    first, second = (app.event(paid(app).intent_id, "payment_intent.succeeded") for _ in range(2))
    defect = "psycopg.errors.CheckViolation: poisoned"
    answer = app.deliver(first)
    assert answer.problem == "event-not-applied"
    assert lambda_service.received[0].document["request_id"] == answer.headers["X-Request-Id"]
    assert reported(lambda_service) == [("tests-stripe-webhook", defect)]
    with inbox_of(app, monkeypatch) as inbox:
        inbox.put(second, "no event")
        assert len(inbox.drain()) == 2
    assert [name for name, _ in reported(lambda_service)] == ["tests-webhook-inbox"] * 2
    all_due(app)
    app.faults({"method": "GET", "path": "/v1/events", "times": 9, "status": 500})
    assert app.invoke("reconcile-payments")["retried"] == 2
    assert reported(lambda_service) == [("tests-reconcile-payments", defect)] * 4, (
        "two events, and two payments that were asked about"
    )


def test_a_defect_in_ending_a_hold_is_reported(app: App, lambda_service: Receiver) -> None:
    """The run goes on, and answers that one has failed."""
    payment = app.payment(app.hold(app.slot()))
    app.expire(payment.hold)
    app.rows("DROP FUNCTION finish_close")
    assert app.invoke("reservation-cleanup")["failed"] == 1
    ((name, message),) = reported(lambda_service)
    assert name == "tests-reservation-cleanup"
    assert "finish_close" in message


def test_a_defect_in_delivering_is_reported(app: App, lambda_service: Receiver) -> None:
    """Not so a receiver that is away: that is not ours to mend."""
    app.booked(app.slot())
    app.set(NOTIFICATION_WEBHOOK_URL="http://127.0.0.1:9/told")
    assert app.invoke("deliver-outbox")["retried"] == 1
    assert reported(lambda_service) == []
    app.leases_over()
    app.rows("UPDATE outbox SET kind = 'error_issue'")
    app.set(GITHUB_REPOSITORY="holdfast/errors")
    assert app.invoke("deliver-outbox")["retried"] == 1
    assert [name for name, _ in reported(lambda_service)] == ["tests-deliver-outbox"]


def test_what_stripe_does_not_answer_is_no_error_of_ours(app: App, lambda_service: Receiver) -> None:
    """The event is kept as failed, and comes again."""
    payment = paid(app)
    app.faults(
        {"method": "GET", "path": f"/v1/payment_intents/{payment.intent_id}", "times": 9, "status": 500}
    )
    event = event_of("payment_intent.succeeded", {"id": payment.intent_id}, api_version="2019-12-03")
    assert app.deliver(event).problem == "event-not-applied"
    assert lambda_service.received == []


def test_a_function_that_cannot_start_is_critical(app: App, lambda_service: Receiver) -> None:
    """It names the setting, and no value."""
    app.set(STRIPE_SECRET_KEY="pk_test_publishable")
    assert offerings(app).status == 500
    (request,) = lambda_service.received
    assert request.document["severity"] == "critical"
    assert "STRIPE_SECRET_KEY" in request.document["message"]
    assert b"publishable" not in request.body


def test_an_absent_database_is_no_error_of_ours(app: App, lambda_service: Receiver) -> None:
    """Answered 503, with nothing sent: who could count it is away."""
    app.set(DATABASE_URL="postgresql://app@127.0.0.1:9/holdfast")
    assert offerings(app).status == 503
    with pytest.raises(Exception, match="database"):
        app.invoke("deliver-outbox")
    assert lambda_service.received == []


@pytest.mark.parametrize("status", [500, 429, 404])
def test_a_report_that_fails_changes_nothing_for_the_caller(
    app: App, lambda_service: Receiver, status: int
) -> None:
    """The same answer; and for a pause nothing more is tried, but counted for later."""
    break_offerings(app)
    lambda_service.status = status
    for _ in range(3):
        assert (answer := offerings(app)).problem == "internal-error", answer
    assert len(lambda_service.received) == 1


def test_a_report_that_nobody_takes_costs_a_moment(app: App, lambda_service: Receiver) -> None:
    """Two seconds once, and then nothing for the pause."""
    break_offerings(app)
    lambda_service.delay_s = 4
    for limit in (3.9, 1.9):
        began = time.monotonic()
        assert offerings(app).status == 500
        assert time.monotonic() - began < limit


def test_without_log_error_nothing_is_sent(app: App, lambda_service: Receiver) -> None:
    """As in `log-error` itself, whose failure could otherwise go on for ever."""
    app.unset("LOG_ERROR_FUNCTION")
    break_offerings(app)
    assert offerings(app).status == 500
    assert lambda_service.received == []


def test_a_flood_is_held_back_and_counted_to_the_last(
    app: App, lambda_service: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred failures of an environment: a burst of reports, and after the pause one for all the others."""
    now = [1000.0]
    monkeypatch.setattr(failures, "time", SimpleNamespace(monotonic=lambda: now[0]))
    break_offerings(app)
    for _ in range(100):
        offerings(app)
    assert len(lambda_service.received) == failures.BURST
    now[0] += failures.PAUSE_SECONDS
    app.call("reservations", "GET", "/nope")  # any call of this environment
    assert len(lambda_service.received) == failures.BURST + 1
    assert take(app, lambda_service)[-1]["occurrence_count"] == 100
    assert app.count("error_groups") == 1
    app.call("reservations", "GET", "/nope")
    assert lambda_service.received == []


def test_what_was_not_sent_is_counted_once_it_is(
    app: App, lambda_service: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lambda away for a while: the next report says how many there were."""
    now = [1000.0]
    monkeypatch.setattr(failures, "time", SimpleNamespace(monotonic=lambda: now[0]))
    break_offerings(app)
    lambda_service.statuses = [500]
    for _ in range(3):
        offerings(app)
    lambda_service.received.clear()
    now[0] += failures.PAUSE_SECONDS
    offerings(app)
    assert sum(answer["occurrence_count"] for answer in take(app, lambda_service)[-1:]) == 4


def test_a_failure_that_lambda_brings_twice_is_counted_once(app: App, lambda_service: Receiver) -> None:
    """Asynchronous invocations come at least once; and so does a report whose COMMIT's answer was lost."""
    break_offerings(app)
    offerings(app)
    (request,) = lambda_service.received
    lambda_service.received.append(request)
    assert [answer["occurrence_count"] for answer in take(app, lambda_service)] == [1, 1]
    assert app.count("error_logs") == 1


def test_secrets_of_a_failure_stay_where_they_are(app: App, lambda_service: Receiver, logs: Logs) -> None:
    """Nothing of them is handed over, stored, logged or answered."""
    break_offerings(app, SECRET_TEXT)
    answer = offerings(app)
    handed_over = b"".join(request.body for request in lambda_service.received).decode()
    take(app, lambda_service)
    assert "[card]" in handed_over
    for canary in CANARIES:
        for where in (
            handed_over,
            str(app.dump()["error_logs"]),
            str(app.dump()["error_groups"]),
            logs.text,
            answer.text,
        ):
            assert canary not in where, canary


def test_what_a_caller_sends_is_no_failure_of_ours(app: App) -> None:
    """The fields of an own failure are refused at the door that is open to all."""
    body = {"message": "m", "severity": "error", "request_id": "r", "times": 1_000_000}
    answer = app.call("log-error", "POST", "/", body)
    assert (answer.status, answer.problem) == (422, "invalid-request")


def test_a_failure_of_log_error_is_brought_again(app: App) -> None:
    """It fails, and Lambda tries again: nothing is swallowed while the database is away."""
    app.set(DATABASE_URL="postgresql://app@127.0.0.1:9/holdfast")
    event = {"message": "m", "stack": "s", "severity": "error", "request_id": "r", "times": 1}
    with pytest.raises(Exception, match="database"):
        app.handler("log-error")(json.loads(json.dumps(event)), Context())
