"""An administrator has Stripe's events done again: one, or those of a status; what was done is not done twice."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from functions.admin import service
from tests.support.app import App, Payment
from tests.support.lambda_events import SOURCE_IP, USER_AGENT, Answer, Context
from tests.support.postgres import on_every_postgres
from tests.support.sign_in import configure, request, token
from tests.support.stripe_events import event_of, intent

type Replay = Callable[..., Answer]


@pytest.fixture
def replay(app: App, monkeypatch: pytest.MonkeyPatch) -> Replay:
    """Replays one event by its id, or what a filter says, as an administrator."""
    configure(monkeypatch)

    def ask(event_id: str | None = None, /, *, raw: object = None, **wanted: object) -> Answer:
        path = f"/webhook-events/{event_id}/replay" if event_id else "/webhook-events/replay"
        headers = {"authorization": f"Bearer {token(role='admin', sub='ops-7')}"}
        body = None if event_id else (wanted if raw is None else raw)
        return app.call("admin", "POST", path, body, headers)

    return ask


def failed(app: App, slot: str) -> tuple[Payment, dict[str, Any]]:
    """A payment whose success could not be applied; what was wrong is mended."""
    payment = app.payment(app.hold(slot))
    app.confirm(payment)
    event = app.event(payment.intent_id, "payment_intent.succeeded")
    app.rows("ALTER TABLE bookings ADD CONSTRAINT poison CHECK (false) NOT VALID")
    assert app.deliver(event).status == 500
    app.rows("ALTER TABLE bookings DROP CONSTRAINT poison")
    return payment, event


def status(app: App, event_id: str) -> str:
    return app.value("SELECT status FROM webhook_events_log WHERE event_id = %s", event_id)


# One.


@pytest.mark.parametrize("kept_as", ["failed", "dead"])
@on_every_postgres
def test_a_failed_or_dead_event_is_done_again(app: App, replay: Replay, kept_as: str) -> None:
    """After the fix: booked; replayed again it is a duplicate."""
    payment, event = failed(app, app.slot())
    app.rows("UPDATE webhook_events_log SET status = %s, attempts = 12", kept_as)
    answer = replay(event["id"])
    assert (answer.status, answer.body) == (200, {"id": event["id"], "outcome": "processed"})
    assert app.status(payment.hold) == "completed"
    assert replay(event["id"]).body == {"id": event["id"], "outcome": "duplicate"}
    assert app.count("bookings") == 1
    assert app.violations() == []


@on_every_postgres
def test_a_quarantined_event_is_judged_again(app: App, replay: Replay) -> None:
    """Still wrong: quarantined again. Put right: booked."""
    payment = app.payment(app.hold(app.slot()))
    app.confirm(payment)
    event = app.event(payment.intent_id, "payment_intent.succeeded")
    app.set(LIVEMODE="true", STRIPE_SECRET_KEY="sk_live_of_nobody")
    assert app.outcome(event) == "quarantined"
    assert replay(event["id"]).body["outcome"] == "quarantined"
    app.set(LIVEMODE="false", STRIPE_SECRET_KEY="sk_test_of_nobody")
    assert replay(event["id"]).body["outcome"] == "processed"
    assert app.status(payment.hold) == "completed"


def test_a_parked_event_stays_parked_while_nothing_fits_it(app: App, replay: Replay) -> None:
    event = event_of("payment_intent.succeeded", intent("pi_1", 4500, "succeeded"))
    assert app.outcome(event) == "parked"
    assert replay(event["id"]).body["outcome"] == "parked"
    assert status(app, event["id"]) == "parked"


def test_one_that_fails_again_says_so_and_stays_dead(app: App, replay: Replay) -> None:
    _, event = failed(app, app.slot())
    app.rows("UPDATE webhook_events_log SET status = 'dead', attempts = 12")
    app.rows("ALTER TABLE bookings ADD CONSTRAINT poison CHECK (false) NOT VALID")
    assert replay(event["id"]).body == {"id": event["id"], "outcome": "failed"}
    assert app.row("SELECT status, attempts FROM webhook_events_log") == ("dead", 13)


@on_every_postgres
def test_what_is_done_is_a_duplicate_and_leaves_no_trace(app: App, replay: Replay) -> None:
    """Processed, stale, ignored: nothing is done, nothing is audited."""
    app.booked(app.slot())
    before = app.dump()
    (event_id,) = app.row("SELECT event_id FROM webhook_events_log")
    assert replay(event_id).body == {"id": event_id, "outcome": "duplicate"}
    assert app.dump() == before


@pytest.mark.parametrize("event_id", ["evt_unknown", "x" * 400, "%00", "'; drop table slots; --"])
def test_an_event_that_never_came_is_404(replay: Replay, event_id: str) -> None:
    answer = replay(event_id)
    assert answer.status == 404
    assert answer.problem in ("unknown-event", "not-found")


@on_every_postgres
def test_a_replay_is_audited_with_who_and_from_where(app: App, replay: Replay) -> None:
    """The administrator's id, address and request, and the event as it was; what it caused names them, too."""
    payment, event = failed(app, app.slot())
    answer = replay(event["id"])
    row = app.row(
        """
        SELECT performed_by, performed_by_id, ip_address, user_agent, reason, request_id, stripe_event_id, old_values
        FROM booking_audit_log WHERE action_type = 'replay'
        """
    )
    assert row[:7] == (
        "admin",
        "ops-7",
        SOURCE_IP,
        USER_AGENT,
        "replay",
        answer.headers["X-Request-Id"],
        event["id"],
    )
    assert row[7]["status"] == "failed"
    booked = "SELECT performed_by_id FROM booking_audit_log WHERE table_name = 'bookings'"
    assert app.value(booked) == "ops-7"
    assert app.status(payment.hold) == "completed"


def test_a_replay_whose_function_dies_is_done_by_reconciliation(
    app: App, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that was asked for is due from that moment on, whenever it was to be tried before."""
    payment, event = failed(app, app.slot())
    app.rows("UPDATE webhook_events_log SET next_attempt_at = now() + interval '1 hour'")
    # Neither Stripe's list nor asking tells of the money: the event alone does.
    app.rows("INSERT INTO job_cursors (job, reached_at) VALUES ('stripe-events', now() + interval '2 hours')")
    app.rows("UPDATE payment_intents_log SET next_reconcile_at = 'infinity'")

    def die(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(service, "kill_point", die)
    with pytest.raises(KeyboardInterrupt):
        replay(event["id"])
    assert app.invoke("reconcile-payments")["retried"] == 1
    assert status(app, event["id"]) == "processed"
    assert app.status(payment.hold) == "completed"


# By filter.


@on_every_postgres
def test_a_filter_replays_what_it_names_and_nothing_else(app: App, replay: Replay) -> None:
    """By status, by type, since a moment; oldest first."""
    slot = app.slot()
    (first, old), (second, young) = failed(app, slot), failed(app, slot)
    app.rows(
        "UPDATE webhook_events_log SET received_at = now() - interval '2 days' WHERE event_id = %s", old["id"]
    )
    since = app.value("SELECT rfc3339(now() - interval '1 day')")
    parked = event_of("payment_intent.canceled", intent("pi_1", 4500, "canceled"))
    app.outcome(parked)

    assert replay(status="failed", type="payment_intent.canceled").body["matched"] == 0
    assert replay(status="dead").body == {"dry_run": False, "matched": 0, "events": []}
    answer = replay(status="failed", since=since)
    assert [(event["id"], event["outcome"]) for event in answer.body["events"]] == [
        (young["id"], "processed")
    ]
    assert (app.status(first.hold), app.status(second.hold)) == ("active", "completed")
    answer = replay(status="failed", type="payment_intent.succeeded")
    assert [(event["id"], event["outcome"]) for event in answer.body["events"]] == [(old["id"], "processed")]
    assert status(app, parked["id"]) == "parked"
    assert app.violations() == []


@on_every_postgres
def test_a_dry_run_names_the_events_and_changes_nothing(app: App, replay: Replay) -> None:
    _, event = failed(app, app.slot())
    before = app.dump()
    answer = replay(status="failed", dry_run=True).body
    (named,) = answer.pop("events")
    assert answer == {"dry_run": True, "matched": 1}
    assert (named["id"], named["type"], named["status"]) == (event["id"], event["type"], "failed")
    assert "outcome" not in named
    assert app.dump() == before


def park(app: App, number: int) -> list[str]:
    """So many parked events; their ids, oldest first, several of one moment."""
    ids = [f"evt_{uuid4().hex}" for _ in range(number)]
    app.rows(
        """
        INSERT INTO webhook_events_log (event_id, event_type, status, payload, received_at)
        SELECT id, 'payment_intent.succeeded', 'parked', %s::jsonb || jsonb_build_object('id', id),
               now() - interval '1 hour' + n / 3 * interval '1 second'
        FROM unnest(%s::text[]) WITH ORDINALITY AS given (id, n)
        """,
        json.dumps(event_of("payment_intent.succeeded", intent("pi_1", 4500, "succeeded"))),
        ids,
    )
    return [
        row[0] for row in app.rows("SELECT event_id FROM webhook_events_log ORDER BY received_at, event_id")
    ]


def test_pages_replay_each_event_once_though_they_stay_what_they_were(
    app: App, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`next` goes on after the last one: what is parked again is not met again."""
    monkeypatch.setattr(service, "REPLAY_BATCH", 4)
    there = park(app, 10)
    seen: list[str] = []
    wanted: dict[str, object] = {"status": "parked"}
    while True:
        body = replay(**wanted).body
        assert body["matched"] == 10 - len(seen)
        seen += [event["id"] for event in body["events"]]
        if "next" not in body:
            break
        wanted["cursor"] = body["next"]
    assert seen == there
    assert app.rows("SELECT DISTINCT attempts FROM webhook_events_log") == [(1,)]


def test_a_replay_that_runs_out_of_time_says_where_to_go_on(app: App, replay: Replay) -> None:
    """One event at least, so that it comes to an end."""
    there = park(app, 3)
    headers = {"authorization": f"Bearer {token(role='admin')}"}
    answer = app.call(
        "admin",
        "POST",
        "/webhook-events/replay",
        {"status": "parked"},
        headers,
        context=Context(seconds_left=1),
    )
    assert [event["id"] for event in answer.body["events"]] == there[:1]
    rest = replay(status="parked", cursor=answer.body["next"])
    assert [event["id"] for event in rest.body["events"]] == there[1:]


@pytest.mark.parametrize(
    ("wanted", "pointer"),
    [
        ({}, "/status"),
        ({"status": "processed"}, "/status"),
        ({"status": "ignored"}, "/status"),
        ({"status": "failed", "since": "yesterday"}, "/since"),
        ({"status": "failed", "since": "2026-11-21T12:00:00"}, "/since"),
        ({"status": "failed", "type": ""}, "/type"),
        ({"status": "failed", "type": "a\0b"}, "/type"),
        ({"status": "failed", "dry_run": "yes"}, "/dry_run"),
        ({"status": "failed", "cursor": "nonsense"}, "/cursor"),
        ({"status": "failed", "limit": 5}, "/limit"),
    ],
)
def test_a_wrong_filter_is_422_and_replays_nothing(
    app: App, replay: Replay, wanted: dict[str, object], pointer: str
) -> None:
    failed(app, app.slot())
    before = app.dump()
    answer = replay(raw=wanted)
    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert answer.body["errors"][0]["pointer"] == pointer
    assert app.dump() == before


@pytest.mark.parametrize("path", ["/webhook-events/evt_1/replay", "/webhook-events/replay"])
def test_a_cookie_needs_its_csrf_token(app: App, replay: Replay, path: str) -> None:
    """As with every call that changes anything."""
    del replay  # the sign-in is configured with it
    cookie = token(role="admin", csrf="abc")
    event = request("POST", path, cookie=cookie) | {"body": '{"status": "failed"}'}
    answered = app.handler("admin")(event, Context())
    assert (answered["statusCode"], json.loads(answered["body"])["type"]) == (403, "/problems/csrf")
