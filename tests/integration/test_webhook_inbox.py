"""What Stripe tells while the database is away: queued, applied once, and never a reason to lose or repeat anything."""

import json
from collections.abc import Generator
from typing import Any

import pytest

from runtime import inbox as queue
from tests.emulator_process import eventually
from tests.support.app import App, Payment
from tests.support.in_time import within
from tests.support.lambda_events import Context
from tests.support.logs import Logs
from tests.support.outages import packets_are_dropped
from tests.support.queue import Inbox, inbox_of
from tests.support.round_trips import proxied
from tests.support.stripe_events import event_of, intent

NOWHERE = "postgresql://app@127.0.0.1:9/nowhere"


@pytest.fixture
def inbox(app: App, monkeypatch: pytest.MonkeyPatch) -> Generator[Inbox]:
    with inbox_of(app, monkeypatch) as inbox:
        yield inbox


def paid(payment: Payment) -> dict[str, Any]:
    """Stripe's word that the payment's intent has succeeded."""
    assert payment.intent_id is not None
    return event_of("payment_intent.succeeded", intent(payment.intent_id, payment.hold.amount, "succeeded"))


def database_away(app: App) -> None:
    app.set(DATABASE_URL=NOWHERE)


def database_back(app: App) -> None:
    app.set(DATABASE_URL=app.app_url)


def test_what_comes_while_the_database_is_away_is_queued_and_applied_once(app: App, inbox: Inbox) -> None:
    """200 queued; with the database back the queue books it, and Stripe's own retry is a duplicate."""
    slot = app.slot()
    event = paid(app.payment(app.hold(slot)))
    database_away(app)
    assert app.outcome(event) == "queued"
    database_back(app)

    assert inbox.drain() == []

    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.outcome(event) == "duplicate"
    inbox.put(event)
    assert inbox.drain() == []
    assert app.count("bookings") == app.count("outbox") == 1
    assert app.violations() == []


def test_no_client_secret_reaches_the_queue(app: App, inbox: Inbox) -> None:
    """What only the buyer may have is taken out before, wherever it stands; all else is there."""
    event = paid(app.payment(app.hold(app.slot())))
    event["data"]["previous_attributes"] = {"client_secret": "pi_1_secret_2", "note": "größe \ufffe"}
    database_away(app)

    assert app.outcome(event) == "queued"

    (queued,) = inbox.events()
    assert "secret" not in str(queued)
    del event["data"]["object"]["client_secret"], event["data"]["previous_attributes"]["client_secret"]
    assert queued == event


def test_stripes_own_retry_may_come_before_the_queue(app: App, inbox: Inbox) -> None:
    """Applied by the webhook meanwhile: for the queue it is a duplicate."""
    event = paid(app.payment(app.hold(app.slot())))
    inbox.put(event)
    assert app.outcome(event) == "processed"
    assert inbox.drain() == []
    assert app.count("bookings") == 1
    assert app.value("SELECT attempts FROM webhook_events_log") == 1


def test_an_event_whose_commit_nobody_confirmed_may_be_queued(app: App, inbox: Inbox) -> None:
    """Each COMMIT is done and its answer lost: queued, and a duplicate when the queue brings it."""
    event = paid(app.payment(app.hold(app.slot())))
    with proxied(app.app_url) as (proxy, url):
        app.set(DATABASE_URL=url)
        proxy.cut("after", b"COMMIT", times=50)
        assert app.outcome(event) == "queued"
        assert proxy.cuts > 1
        database_back(app)
    assert app.count("bookings") == 1
    assert inbox.drain() == []
    assert app.count("bookings") == 1
    assert app.violations() == []


@pytest.mark.parametrize("event_type", ["customer.created", "charge.succeeded"])
def test_what_nothing_is_done_with_is_ignored_without_a_database(
    app: App, inbox: Inbox, event_type: str
) -> None:
    """Nobody would miss its row."""
    database_away(app)
    assert app.outcome(event_of(event_type, {})) == "ignored"
    assert inbox.events() == []


def test_what_is_no_event_never_reaches_the_queue(app: App, inbox: Inbox) -> None:
    """Unsigned or signed nonsense: 400, as always."""
    database_away(app)
    assert app.deliver(b"[1]").problem == "malformed-event"
    assert app.deliver(paid_nobody(), secret="whsec_wrong").problem == "invalid-signature"
    assert inbox.events() == []


def paid_nobody() -> dict[str, Any]:
    return event_of("payment_intent.succeeded", intent("pi_1", 4500, "succeeded"))


def test_what_fails_for_another_reason_is_not_queued(app: App, inbox: Inbox) -> None:
    """The database is there and the effect fails: kept as failed, 5xx, and Stripe comes again."""
    event = paid(app.payment(app.hold(app.slot())))
    app.rows("ALTER FUNCTION notify(text, uuid, uuid, uuid, text, bigint) RENAME TO notify_away")
    assert app.deliver(event).problem == "event-not-applied"
    assert app.value("SELECT status FROM webhook_events_log") == "failed"
    assert inbox.events() == []


def test_without_a_queue_stripe_is_told_to_come_again(app: App) -> None:
    """No queue is configured: 503 with Retry-After."""
    database_away(app)
    answer = app.deliver(paid_nobody())
    assert (answer.status, answer.problem) == (503, "database-unavailable")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("where", ["http://127.0.0.1:9", "no such queue", "too large"])
def test_what_the_queue_does_not_take_is_for_stripe_to_bring_again(
    app: App, inbox: Inbox, logs: Logs, where: str
) -> None:
    """SQS is away, has no such queue, or the event is over its limit: 503 with Retry-After, soon, and it is counted."""
    database_away(app)
    event = paid_nobody()
    match where:
        case "too large":
            event["data"]["previous_attributes"] = "é" * 200_000
        case "no such queue":
            app.set(WEBHOOK_INBOX_QUEUE_URL=f"{inbox.url}-of-others")
        case _:
            app.set(AWS_ENDPOINT_URL=where, WEBHOOK_INBOX_QUEUE_URL=f"{where}/queue")
            queue._sqs.cache_clear()
    app.deliver(event_of("customer.created", {}))  # the database's breaker is open now
    queue._sqs()

    answer = within(5, lambda: app.deliver(json.dumps(event, ensure_ascii=False).encode()))

    assert (answer.status, answer.problem) == (503, "database-unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert "WebhookNotQueued" in logs.counted()


def test_a_message_that_fails_holds_up_no_other(app: App, inbox: Inbox) -> None:
    """Nonsense, no event, and an event that cannot be applied, among good ones: only they come again."""
    slot = app.slot()
    good = [paid(app.payment(app.hold(slot))) for _ in range(3)]
    unlucky = event_of(
        "payment_intent.succeeded", intent("pi_unknown", 4500, "succeeded"), api_version="2019-12-03"
    )
    app.faults(
        {"method": "GET", "path": "/v1/payment_intents/pi_unknown", "times": 9, "timeout_before": True}
    )
    inbox.put(good[0], "{no JSON", good[1], {"id": "evt_1"}, unlucky, "[]", good[2])

    again = inbox.drain()

    assert sorted(again) == sorted(["{no JSON", '{"id": "evt_1"}', again[2], "[]"])
    assert unlucky["id"] in again[2]
    assert app.counts(slot) == (0, 3, 0, 3)
    assert app.value("SELECT status FROM webhook_events_log WHERE event_id = %s", unlucky["id"]) == "failed"


def test_what_failed_comes_again_by_itself(app: App, inbox: Inbox) -> None:
    """Seconds later at first, and not after the queue's five minutes; what was wrong is mended, and it is applied."""
    slot = app.slot()
    inbox.put(paid(app.payment(app.hold(slot))))
    app.rows("ALTER FUNCTION notify(text, uuid, uuid, uuid, text, bigint) RENAME TO notify_away")
    assert len(inbox.drain()) == 1
    app.rows("ALTER FUNCTION notify_away(text, uuid, uuid, uuid, text, bigint) RENAME TO notify")
    eventually(lambda: inbox.drain() == [] and app.count("bookings") == 1, within=10)
    assert app.counts(slot) == (0, 1, 0, 1)


def test_a_message_before_its_events_time_is_no_attempt(app: App, inbox: Inbox, logs: Logs) -> None:
    """It comes every few minutes: the event's twelve tries last as long as without it, and it dies once."""
    event = paid(app.payment(app.hold(app.slot())))
    app.rows("ALTER FUNCTION notify(text, uuid, uuid, uuid, text, bigint) RENAME TO notify_away")
    inbox.put(event)
    records = inbox.receive()

    def come() -> tuple[str, int]:
        app.handler("webhook-inbox")({"Records": records}, Context())
        ((status, attempts),) = app.rows("SELECT status, attempts FROM webhook_events_log")
        return status, attempts

    assert [come() for _ in range(14)] == [("failed", 1)] * 14
    app.rows("UPDATE webhook_events_log SET next_attempt_at = now() - interval '1 second'")
    assert [come(), come()] == [("failed", 2)] * 2
    app.rows("UPDATE webhook_events_log SET next_attempt_at = now() - interval '1 second', attempts = 11")
    assert [come() for _ in range(3)] == [("dead", 12)] * 3
    assert sum("WebhookDead" in document for document in logs.metrics()) == 1
    app.rows("ALTER FUNCTION notify_away(text, uuid, uuid, uuid, text, bigint) RENAME TO notify")
    assert come()[0] == "processed"


def test_while_the_database_is_away_a_batch_fails_fast(app: App, inbox: Inbox) -> None:
    """Ten messages take no longer than the one that finds out, and all of them come again."""
    with packets_are_dropped() as port:
        app.set(DATABASE_URL=f"postgresql://app@127.0.0.1:{port}/holdfast")
        queue._sqs()  # a warm environment's: making one takes a while

        def put_ten() -> None:
            app.forget()
            inbox.put(*(paid_nobody() for _ in range(10)))

        assert len(within(5, inbox.drain, put_ten)) == 10


def test_what_the_function_has_no_time_for_comes_again(app: App, inbox: Inbox) -> None:
    """Near its deadline it begins nothing that could be cut off."""
    inbox.put(paid_nobody())
    records = inbox.receive()
    answer = app.handler("webhook-inbox")({"Records": records}, Context(seconds_left=10))
    assert answer == {"batchItemFailures": [{"itemIdentifier": records[0]["messageId"]}]}
    assert app.count("webhook_events_log") == 0


def test_health_tells_of_the_queue(app: App, inbox: Inbox) -> None:
    """Configured and reached, or not; without it the deployment still works."""
    assert app.call("health", "GET", "/ready").body["queue"] == {"configured": True, "reached": True}
    app.set(WEBHOOK_INBOX_QUEUE_URL=f"{inbox.url}-of-others")
    answer = app.call("health", "GET", "/ready")
    assert (answer.status, answer.body["queue"]) == (200, {"configured": True, "reached": False})
