"""Events that could not be applied: matched when their row appears, tried again, given up in the open."""

from collections.abc import Generator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from functions.reconcile_payments import service
from tests.emulator_process import Emulator, emulator
from tests.support.app import App, Payment
from tests.support.logs import Logs
from tests.support.postgres import on_every_postgres
from tests.support.reconciliation import NOTHING, all_due, cure, event_row, ours, paid, poison, reconcile
from tests.support.stripe_events import event_of, intent


@pytest.fixture
def stripe_account(tmp_path: Path) -> Generator[Emulator]:
    """An account of the test's own: its list has no events of others."""
    with emulator(tmp_path / "stripe") as running:
        yield running


# Parked events.


def a_while_ago(app: App) -> None:
    """Every event came ten minutes ago: one that has just come may be due again in the same run."""
    app.rows("UPDATE webhook_events_log SET received_at = now() - interval '10 minutes'")


@on_every_postgres
def test_a_parked_event_is_matched_when_its_row_appears(app: App, logs: Logs) -> None:
    """Nothing we know: parked and alarmed; tried again, later and later; its row appears: booked."""
    event = event_of("payment_intent.succeeded", intent("pi_1", 4500, "succeeded", **ours(str(uuid4()))))
    assert app.outcome(event) == "parked"
    assert logs.lines("ERROR")
    a_while_ago(app)
    all_due(app)
    assert reconcile(app) == NOTHING
    assert event_row(app, event["id"])[0] == "parked"
    hold = app.hold(app.slot())
    app.rows(
        """
        INSERT INTO payment_intents_log (id, reservation_id, mode, idempotency_key, amount, currency, parameters, lease_until)
        VALUES (%s, %s, 'payment_intent', 'payment:late:1', 4500, 'eur', '{}', now() + interval '1 hour')
        """,
        event["data"]["object"]["metadata"]["holdfast_payment_id"],
        hold.id,
    )
    all_due(app)
    assert reconcile(app) == NOTHING | {"rematched": 1}
    assert event_row(app, event["id"]) == ("processed", 3, 1)
    assert app.status(hold) == "completed"
    assert reconcile(app) == NOTHING


def orphan(app: App) -> Payment:
    """A payment at Stripe whose row is gone, as after a failover that has lost its last commits; its hold is still there."""
    payment = app.payment(app.hold(app.slot()))
    app.rows("ALTER TABLE payment_intents_log DISABLE TRIGGER USER")
    app.rows("UPDATE ticket_reservations SET payment_id = NULL")
    app.rows("DELETE FROM payment_intents_log")
    return payment


def at_stripe(app: App, intent_id: str | None) -> str:
    return app.stripe_client.v1.payment_intents.retrieve(intent_id or "").status


@on_every_postgres
def test_an_orphan_of_a_hold_of_ours_is_canceled(app: App, logs: Logs) -> None:
    """Nobody else can have made it, and whoever paid it would get nothing: a person is told, and it is closed."""
    payment = orphan(app)
    event = app.event(payment.intent_id, "payment_intent.created")
    assert app.outcome(event) == "parked"
    assert logs.lines("ERROR")
    for _ in range(2):
        all_due(app)
        reconcile(app)
        assert at_stripe(app, payment.intent_id) == "canceled"
    told = app.rows("SELECT event_type, status, reason FROM webhook_events_log ORDER BY event_type")
    why = "an orphan, and canceled"
    assert told == [("payment_intent.canceled", "ignored", why), ("payment_intent.created", "ignored", why)]


def test_an_orphan_that_is_paid_or_of_no_hold_of_ours_waits_for_a_person(app: App) -> None:
    """Its money has to be looked at; and what another stack has made is its own to close."""
    paid_one = orphan(app)
    app.confirm(paid_one)
    ids = {"holdfast_payment_id": str(uuid4()), "holdfast_reservation_id": str(uuid4())}
    theirs = app.stripe_client.v1.payment_intents.create({"amount": 700, "currency": "eur", "metadata": ids})
    reconcile(app)
    all_due(app)
    reconcile(app)
    assert at_stripe(app, paid_one.intent_id) == "succeeded"
    assert at_stripe(app, theirs.id) == "requires_payment_method"
    assert app.rows("SELECT DISTINCT status FROM webhook_events_log") == [("parked",)]


def test_an_orphan_about_which_stripe_does_not_answer_stays_parked(app: App) -> None:
    """The next run asks again."""
    payment = orphan(app)
    event = app.event(payment.intent_id, "payment_intent.created")
    app.outcome(event)
    a_while_ago(app)
    app.faults(
        {
            "method": "POST",
            "path": f"/v1/payment_intents/{payment.intent_id}/cancel",
            "times": 99,
            "status": 500,
        }
    )
    all_due(app)
    reconcile(app)
    assert event_row(app, event["id"])[0] == "parked"
    app.faults()
    all_due(app)
    reconcile(app)
    assert event_row(app, event["id"])[0] == "ignored"


def test_a_parked_event_that_fails_has_all_of_its_tries(app: App) -> None:
    """To have looked for its payment many times was no failure."""
    payment = app.payment(app.hold(app.slot()))
    event = event_of("payment_intent.succeeded", intent(payment.intent_id or "", 4500, "succeeded"))
    app.rows("ALTER TABLE payment_intents_log DISABLE TRIGGER USER")
    app.rows("UPDATE payment_intents_log SET payment_intent_id = NULL")
    assert app.outcome(event) == "parked"
    app.rows("UPDATE payment_intents_log SET payment_intent_id = %s", payment.intent_id)
    app.rows("UPDATE webhook_events_log SET attempts = 30")
    app.rows("ALTER FUNCTION notify(text, uuid, uuid, uuid, text, bigint) RENAME TO notify_away")
    all_due(app)
    reconcile(app)
    assert event_row(app, event["id"])[:2] == ("failed", 1)
    app.rows("ALTER FUNCTION notify_away(text, uuid, uuid, uuid, text, bigint) RENAME TO notify")
    all_due(app)
    reconcile(app)
    assert event_row(app, event["id"])[:2] == ("processed", 2)


@on_every_postgres
def test_a_parked_event_is_tried_again_once_it_is_twice_as_old(app: App) -> None:
    """So that a new one is matched at once, and an old one does not keep every run busy."""
    event = event_of("payment_intent.succeeded", intent("pi_1", 4500, "succeeded"))
    app.outcome(event)
    wait = "SELECT extract(epoch FROM next_attempt_at - now())::integer FROM webhook_events_log"
    at_once = "SELECT next_attempt_at - processed_at <= processed_at - received_at + interval '1 s' FROM webhook_events_log"
    assert app.value(at_once) is True
    for age, pause in (("10 minutes", 600), ("5 days", 6 * 3600)):
        app.rows("UPDATE webhook_events_log SET received_at = now() - %s::interval", age)
        all_due(app)
        assert reconcile(app) == NOTHING
        assert abs(app.value(wait) - pause) < 30
        assert reconcile(app) == NOTHING
    assert event_row(app, event["id"]) == ("parked", 3, 1)


@on_every_postgres
def test_what_others_did_in_a_shared_account_is_ignored_after_seven_days(app: App, logs: Logs) -> None:
    """Without our metadata: parked in silence, then ignored and forgotten. With it: parked, however old."""
    foreign = event_of("payment_intent.succeeded", intent("pi_1", 4500, "succeeded"))
    assert app.outcome(foreign) == "parked"
    assert not logs.lines("ERROR")
    mine = event_of("payment_intent.succeeded", intent("pi_2", 4500, "succeeded", **ours(str(uuid4()))))
    assert app.outcome(mine) == "parked"
    app.rows("UPDATE webhook_events_log SET received_at = now() - interval '6 days 23 hours'")
    reconcile(app)
    assert event_row(app, foreign["id"])[0] == "parked"
    app.rows("UPDATE webhook_events_log SET received_at = now() - interval '7 days'")
    reconcile(app)
    assert event_row(app, foreign["id"])[0] == "ignored"
    assert event_row(app, mine["id"])[0] == "parked"
    assert app.outcome(foreign) == "duplicate"
    payload = "SELECT payload FROM webhook_events_log WHERE event_id = %s"
    assert app.value(payload, foreign["id"]) == {}


# Poison events.


@on_every_postgres
def test_a_poison_event_is_tried_twelve_times_and_then_dead_with_a_reason(app: App, logs: Logs) -> None:
    """The pauses double up to six hours; the twelfth failure is the last, alarmed; then it is left alone."""
    payment = paid(app)
    event = app.event(payment.intent_id, "payment_intent.succeeded")
    app.rows("UPDATE payment_intents_log SET next_reconcile_at = 'infinity'")
    poison(app)
    assert app.deliver(event).status == 500
    pauses: list[int] = []
    for _ in range(10):
        assert reconcile(app)["retried"] == 0, "it was tried before its time"
        wait = "SELECT round(extract(epoch FROM next_attempt_at - now()) / 60)::integer FROM webhook_events_log WHERE event_id = %s"
        pauses.append(app.value(wait, event["id"]))
        all_due(app)
        app.rows("UPDATE payment_intents_log SET next_reconcile_at = 'infinity'")
        result = reconcile(app)
        assert (result["retried"], result["dead"]) == (1, 0)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 360]
    assert not [line for line in logs.lines("ERROR") if "dead" in line["message"]]
    all_due(app)
    app.rows("UPDATE payment_intents_log SET next_reconcile_at = 'infinity'")
    result = reconcile(app)
    assert (result["retried"], result["dead"]) == (1, 1)
    assert event_row(app, event["id"]) == ("dead", 12, 1)
    reason, error = app.row(
        "SELECT reason, last_error FROM webhook_events_log WHERE event_id = %s", event["id"]
    )
    assert (reason, error) == ("CheckViolation", "poisoned")
    assert [line for line in logs.lines("ERROR") if "dead" in line["message"]]
    assert "WebhookDead" in logs.counted()
    all_due(app)
    app.rows("UPDATE payment_intents_log SET next_reconcile_at = 'infinity'")
    assert reconcile(app)["retried"] == 0
    cure(app)
    assert app.outcome(event) == "processed"
    assert app.status(payment.hold) == "completed"


def test_one_event_that_fails_holds_up_no_other(app: App) -> None:
    """Its neighbours on the page and in the batch come to their end."""
    slot = app.slot(units=5)
    payments = [paid(app, slot) for _ in range(3)]
    app.rows("UPDATE payment_intents_log SET next_reconcile_at = 'infinity'")
    app.rows(
        f"""
        CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'poisoned' USING ERRCODE = 'check_violation'; END $$;
        CREATE TRIGGER poison BEFORE INSERT ON bookings FOR EACH ROW
        WHEN (NEW.payment_id = '{payments[1].id}') EXECUTE FUNCTION poison();
        """
    )
    assert reconcile(app) == NOTHING | {"events_fetched": 6, "applied": 5}
    assert app.status_counts() == {"active": 1, "completed": 2}
    cure(app)
    all_due(app)
    assert reconcile(app)["retried"] == 1
    assert app.status_counts() == {"completed": 3}
    assert app.violations() == []


def test_events_whose_run_died_are_due_again(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claimed event comes back before the next run."""
    event = app.event(paid(app).intent_id, "payment_intent.succeeded")
    poison(app)
    app.deliver(event)
    cure(app)
    all_due(app)

    def die(point: str) -> None:
        if point == "reconcile.events-claimed":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(service, "kill_point", die)
        with pytest.raises(KeyboardInterrupt):
            reconcile(app)
    assert event_row(app, event["id"])[0] == "failed"
    due_in = app.value("SELECT next_attempt_at - now() FROM webhook_events_log")
    assert due_in < service.EVENT_LEASE
    all_due(app)
    assert reconcile(app)["retried"] == 1
    assert event_row(app, event["id"])[0] == "processed"


@on_every_postgres
def test_two_runs_at_once_do_not_try_the_same_events(app: App) -> None:
    """What one has claimed the other does not see, neither before its commit nor after."""
    for _ in range(3):
        app.outcome(event_of("payment_intent.succeeded", intent("pi_1", 4500, "succeeded")))
    all_due(app)
    claim = "SELECT claim_due_events(2, '5 minutes')"
    with psycopg.connect(app.app_url) as one, psycopg.connect(app.app_url) as other:
        claimed = [
            {row[0]["event"]["id"] for row in connection.execute(claim).fetchall()}
            for connection in (one, other)
        ]
    assert [len(ids) for ids in claimed] == [2, 1]
    assert not claimed[0] & claimed[1]
    assert app.rows(claim) == []
