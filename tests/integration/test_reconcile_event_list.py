"""Stripe's list of events, read to its end: what could not be delivered comes back, once."""

import sqlite3
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from domain.refusals import EventNotApplied
from functions.reconcile_payments import service
from payments.applying import ACTED_ON
from runtime import jobs
from stripe_gateway import gateway
from tests.emulator_process import Emulator, emulator
from tests.support.app import App, Payment
from tests.support.logs import Logs
from tests.support.postgres import on_every_postgres
from tests.support.reconciliation import NOTHING, all_due, changes, cure, event_row, paid, poison, reconcile


@pytest.fixture
def stripe_account(tmp_path: Path) -> Generator[Emulator]:
    """An account of the test's own: its list has no events of others."""
    with emulator(tmp_path / "stripe") as running:
        yield running


@on_every_postgres
def test_what_was_never_delivered_is_applied_once(app: App) -> None:
    """The money of an event that never came is a booking, told once; Stripe's late delivery is a duplicate."""
    slot = app.slot()
    payment = paid(app, slot)
    assert reconcile(app) == NOTHING | {"events_fetched": 2, "applied": 2}
    assert app.status(payment.hold) == "completed"
    assert app.counts(slot) == (0, 1, 0, 1)
    event = app.event(payment.intent_id, "payment_intent.succeeded")
    assert event_row(app, event["id"]) == ("processed", 1, 0)
    assert reconcile(app) == NOTHING | {"events_fetched": 2}
    assert app.outcome(event) == "duplicate"
    assert event_row(app, event["id"]) == ("processed", 1, 1)
    assert app.count("outbox") == 1
    assert app.violations() == []


def test_no_client_secret_of_a_listed_event_is_stored(app: App) -> None:
    """Stripe's list shows them; our rows do not."""
    payment = paid(app)
    event = app.event(payment.intent_id, "payment_intent.succeeded")
    assert event["data"]["object"]["client_secret"]
    reconcile(app)
    assert "_secret_" not in app.dump()["webhook_events_log"]


def test_on_a_healthy_system_it_changes_nothing(app: App) -> None:
    """Bookings, open payments of both kinds, an expired hold, a declined card, every event delivered: no row changes."""
    slot = app.slot(units=10)
    app.booked(slot)
    app.payment(app.hold(slot))
    session = app.payment(app.hold(slot), mode="checkout_session")
    declined = app.payment(app.hold(slot))
    with pytest.raises(Exception, match="declined"):
        app.confirm(declined, "pm_card_visa_chargeDeclined")
    expired = app.payment(app.hold(slot))
    app.expire(expired.hold)
    app.invoke("reservation-cleanup")
    app.confirm(session)
    listed = app.stripe_client.v1.events.list({"limit": 100, "types": service.EVENT_TYPES})
    for event in reversed([event.to_dict() for event in listed.data]):
        assert app.deliver(event).status == 200
    before = changes(app)
    for _ in range(3):
        result = reconcile(app)
        assert result == NOTHING | {"events_fetched": len(listed.data), "payments_asked": 2}
        assert changes(app) == before
        all_due(app)


def test_a_run_that_dies_on_any_page_is_gone_on_with_from_there(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it died, the next run goes on with that page; nothing is skipped, whatever has happened meanwhile."""
    monkeypatch.setattr(gateway, "PAGE", 2)
    slot = app.slot(units=20)
    payments = [paid(app, slot) for _ in range(4)]
    listed: list[str | None] = []
    list_events = gateway.StripeGateway.list_events

    def recorded(self: Any, types: Any, *, since: int, after: str | None = None) -> Any:
        listed.append(after)
        return list_events(self, types, since=since, after=after)

    def die(point: str) -> None:
        assert point == "reconcile.page-applied"
        raise KeyboardInterrupt

    monkeypatch.setattr(gateway.StripeGateway, "list_events", recorded)
    for _ in range(3):
        with monkeypatch.context() as patch:
            # It lives through one page and dies after the next has been applied.
            points = iter([False, True])
            patch.setattr(
                service, "kill_point", lambda point, points=points: die(point) if next(points) else None
            )
            with pytest.raises(KeyboardInterrupt):
                reconcile(app)
        payments.append(paid(app, slot))
    assert listed.count(None) == 1, "the list was begun anew"
    assert len(set(listed)) == 4
    assert reconcile(app)["events_fetched"] == 2
    reconcile(app)
    assert [app.status(payment.hold) for payment in payments] == ["completed"] * len(payments)
    assert app.violations() == []


def late_event(app: App, state: Path, payment: Payment, *, age_s: int) -> None:
    """Stripe lists the payment's success only after a run, dated `age_s` before that run."""
    with closing(sqlite3.connect(state / "stripe/stripe_emulator.sqlite3", isolation_level=None)) as storage:
        event = app.event(payment.intent_id, "payment_intent.succeeded")
        (seq, body) = storage.execute("SELECT seq, body FROM objects WHERE id = ?", (event["id"],)).fetchone()
        storage.execute("DELETE FROM objects WHERE id = ?", (event["id"],))
        app.rows("UPDATE payment_intents_log SET next_reconcile_at = 'infinity'")
        app.rows("UPDATE payment_intents_log SET created_at = now() - interval '1 day'")
        reconcile(app)
        assert app.status(payment.hold) == "active"
        created = event["created"] - age_s
        storage.execute(
            "INSERT INTO objects (seq, kind, id, created, body, private) VALUES (?, 'event', ?, ?,"
            " json_set(?, '$.created', ?), '{}')",
            (seq, event["id"], created, body, created),
        )
    reconcile(app)


def test_an_event_that_is_listed_late_is_found(app: App, tmp_path: Path) -> None:
    """Each list begins an hour before the end of the last: what appears in there late is not skipped."""
    payment = paid(app)
    late_event(app, tmp_path, payment, age_s=55 * 60)
    assert app.status(payment.hold) == "completed"


def test_control_without_the_overlap_a_late_event_is_skipped(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: the overlap is what finds it."""
    monkeypatch.setattr(service, "OVERLAP", service.OVERLAP * 0)
    payment = paid(app)
    late_event(app, tmp_path, payment, age_s=55 * 60)
    assert app.status(payment.hold) == "active"


def test_a_place_in_the_list_that_stripe_has_forgotten_costs_nothing(app: App) -> None:
    """The event to go on from is gone after 30 days: the list is begun anew."""
    payment = paid(app)
    app.rows(
        "INSERT INTO job_cursors VALUES ('stripe-events', now() - interval '1 hour', now(), 'evt_forgotten')"
    )
    assert reconcile(app)["applied"] == 2
    assert app.status(payment.hold) == "completed"
    assert app.row("SELECT began_at, last_event_id FROM job_cursors") == (None, None)


def test_the_first_list_begins_with_the_oldest_payment_and_30_days_ago_at_most(app: App) -> None:
    """Stripe lists no older ones."""
    app.payment(app.hold(app.slot()))
    since = "SELECT (begin_event_list('1 hour', '30 days') ->> 'since')::bigint - extract(epoch FROM now())::bigint"
    assert -3700 < app.value(since) < -3500
    app.rows("DELETE FROM job_cursors")
    app.rows("UPDATE payment_intents_log SET created_at = now() - interval '90 days'")
    assert abs(app.value(since) + 30 * 86400) < 100


def test_while_stripe_does_not_answer_everything_else_goes_on(app: App) -> None:
    """The list is read later; an event that had failed is done all the same."""
    payment = paid(app)
    poison(app)
    app.deliver(app.event(payment.intent_id, "payment_intent.succeeded"))
    cure(app)
    all_due(app)
    app.faults({"method": "GET", "path": "/v1/events", "times": 9, "status": 500})
    result = reconcile(app)
    assert (result["retried"], result["events_fetched"], result["more"]) == (1, 0, True)
    assert app.status(payment.hold) == "completed"
    app.faults()
    assert reconcile(app)["events_fetched"] == 2


def test_a_run_without_time_left_says_that_there_is_more(app: App) -> None:
    """Time-boxed: what is left is for the next run."""
    payment = paid(app)
    assert reconcile(app, seconds_left=1) == NOTHING | {"more": True}
    assert reconcile(app)["more"] is False
    assert app.status(payment.hold) == "completed"


def test_each_run_leaves_a_row_and_counts(app: App, logs: Logs) -> None:
    """The result is in job_runs and in the metrics."""
    result = reconcile(app)
    assert app.row("SELECT job, result FROM job_runs") == ("reconcile-payments", result)
    assert {"EventsFetched", "Applied", "PaymentsAsked", "Retried", "Dead", "Rematched"} <= logs.counted()


def test_an_event_that_could_not_even_be_kept_is_not_passed_over(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither applied nor stored as failed: the page is read again, by the next run."""
    payment = paid(app)

    def fail(*_: object) -> str:
        raise EventNotApplied

    with monkeypatch.context() as patch:
        patch.setattr(service, "apply_event", fail)
        result = reconcile(app)
    assert (result["applied"], result["more"]) == (0, True)
    assert app.value("SELECT began_at IS NOT NULL FROM job_cursors"), "the list counts as read"
    assert reconcile(app)["applied"] == 2
    assert app.status(payment.hold) == "completed"


def test_a_page_that_takes_too_long_is_gone_on_with_event_by_event(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little time there is, each run applies one at least, and none is lost."""
    slot = app.slot()
    payments = [paid(app, slot) for _ in range(2)]
    app.rows("UPDATE payment_intents_log SET next_reconcile_at = 'infinity'")
    apply, ahead_s = service.apply_event, [0.0]

    def apply_slowly(*arguments: Any) -> str:
        outcome = apply(*arguments)
        ahead_s[0] += 60
        return outcome

    monkeypatch.setattr(service, "apply_event", apply_slowly)
    monkeypatch.setattr(jobs, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + ahead_s[0]))
    for _ in payments:
        result = reconcile(app, seconds_left=80)
        assert (result["applied"], result["more"]) == (1, True)
    while reconcile(app)["more"]:
        pass
    assert app.status_counts() == {"completed": 2}


@on_every_postgres
def test_a_run_that_was_overtaken_moves_no_cursor(app: App) -> None:
    """Another run has finished its list, and a newer one is being read: the late page changes nothing."""
    app.rows("INSERT INTO job_cursors VALUES ('stripe-events', now() - interval '1 hour', now(), 'evt_5')")
    before = app.dump()["job_cursors"]
    app.rows("SELECT advance_event_list(now() - interval '20 minutes', 'evt_1')")
    app.rows("SELECT advance_event_list(now() - interval '20 minutes', NULL)")
    assert app.dump()["job_cursors"] == before
    app.rows("SELECT advance_event_list(began_at, 'evt_6') FROM job_cursors")
    assert app.row("SELECT last_event_id, reached_at < began_at FROM job_cursors") == ("evt_6", True)
    app.rows("SELECT advance_event_list(began_at, NULL) FROM job_cursors")
    row = "SELECT began_at, last_event_id, reached_at > now() - interval '1 minute' FROM job_cursors"
    assert app.row(row) == (None, None, True)


def test_refunds_and_disputes_that_were_never_delivered_come_back_too(app: App) -> None:
    """A refund from the dashboard and a chargeback that nobody told us of: on the ledger, once."""
    slot = app.slot()
    refunded, disputed = app.booked(slot), app.booked(slot)
    for path, payment in (("/refunds", refunded), ("/disputes", disputed)):
        status, body = app.emulator.act(path, payment_intent=payment.intent_id)
        assert status == 200, body
    reconcile(app)
    paid_back = "SELECT payment_status, status FROM bookings WHERE payment_id = %s"
    assert app.row(paid_back, refunded.id) == ("refunded", "confirmed")
    assert app.row(paid_back, disputed.id) == ("disputed", "frozen")
    assert app.row("SELECT payment_id::text, amount, status FROM refunds") == (
        refunded.id,
        refunded.hold.amount,
        "succeeded",
    )
    assert reconcile(app)["applied"] == 0
    assert app.violations() == []


def test_one_list_asks_for_every_type_that_is_acted_on() -> None:
    """Stripe takes 20 types a list at most."""
    assert set(service.EVENT_TYPES) == ACTED_ON
    assert len(service.EVENT_TYPES) <= 20
