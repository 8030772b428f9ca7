"""Reconciliation: what Stripe could not deliver comes back, what could not be done is done again, once."""

import sqlite3
from contextlib import closing
from collections.abc import Generator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from functions.reconcile_payments import service
from stripe_gateway import gateway
from tests.emulator_process import Emulator, emulator
from tests.support.app import App, Payment
from tests.support.logs import Logs
from tests.support.postgres import on_every_postgres
from tests.support.stripe_events import event_of, intent

NOTHING = {
    "events_fetched": 0,
    "applied": 0,
    "payments_asked": 0,
    "retried": 0,
    "dead": 0,
    "rematched": 0,
    "more": False,
}


@pytest.fixture
def stripe_account(tmp_path: Path) -> Generator[Emulator]:
    """An account of the test's own: its list has no events of others."""
    with emulator(tmp_path / "stripe") as running:
        yield running


def reconcile(app: App, *, seconds_left: float = 60) -> dict[str, Any]:
    return app.invoke("reconcile-payments", seconds_left=seconds_left)


def paid(app: App, slot: str | None = None) -> Payment:
    """A payment of which only Stripe knows that it is paid."""
    payment = app.payment(app.hold(slot or app.slot()))
    app.confirm(payment)
    return payment


def all_due(app: App) -> None:
    """Lets every pause be over: as if hours had gone by."""
    app.rows("UPDATE webhook_events_log SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL")
    app.rows("UPDATE payment_intents_log SET next_reconcile_at = now()")


def event_row(app: App, event_id: str) -> tuple[Any, ...]:
    return app.row(
        "SELECT status, attempts, deliveries FROM webhook_events_log WHERE event_id = %s", event_id
    )


def ours(payment_id: str) -> dict[str, Any]:
    return {"metadata": {"holdfast_payment_id": payment_id}}


# Stripe's list of events.


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


def changes(app: App) -> dict[str, Any]:
    """The database but for what says that a run has been."""
    rows = app.dump()
    del rows["job_runs"], rows["job_cursors"]
    rows["payment_intents_log"] = app.value(
        "SELECT json_agg(to_jsonb(p) - '{next_reconcile_at,updated_at,status_at}'::text[] ORDER BY id)::text"
        " FROM payment_intents_log p"
    )
    return rows


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


# Parked events.


@on_every_postgres
def test_a_parked_event_is_matched_when_its_row_appears(app: App, logs: Logs) -> None:
    """Nothing we know: parked and alarmed; tried again, later and later; its row appears: booked."""
    event = event_of("payment_intent.succeeded", intent("pi_1", 4500, "succeeded", **ours(str(uuid4()))))
    assert app.outcome(event) == "parked"
    assert logs.lines("ERROR")
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


@on_every_postgres
def test_a_parked_event_is_tried_again_once_it_is_twice_as_old(app: App) -> None:
    """So that a new one is matched at once, and an old one does not keep every run busy."""
    event = event_of("payment_intent.succeeded", intent("pi_1", 4500, "succeeded"))
    app.outcome(event)
    wait = "SELECT extract(epoch FROM next_attempt_at - now())::integer FROM webhook_events_log"
    assert app.value(wait) <= 0
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


def poison(app: App) -> None:
    """From now on no booking can be made; `cure` ends it."""
    app.rows(
        """
        CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'poisoned' USING ERRCODE = 'check_violation'; END $$;
        CREATE TRIGGER poison BEFORE INSERT ON bookings FOR EACH ROW EXECUTE FUNCTION poison();
        """
    )


def cure(app: App) -> None:
    app.rows("DROP TRIGGER poison ON bookings")


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


# Open and unknown payments.


def without_events(app: App) -> None:
    """Stripe's events are too old to be listed: the list is past them."""
    app.rows(
        "INSERT INTO job_cursors (job, reached_at) VALUES ('stripe-events', now() + interval '2 hours')"
        " ON CONFLICT (job) DO UPDATE SET reached_at = excluded.reached_at"
    )


@pytest.mark.parametrize("mode", ["payment_intent", "checkout_session"])
@on_every_postgres
def test_a_payment_whose_events_are_lost_is_asked_about(app: App, mode: str) -> None:
    """No event says so, but Stripe does when it is asked: booked."""
    payment = app.payment(app.hold(app.slot()), mode=mode)
    app.confirm(payment)
    without_events(app)
    assert reconcile(app) == NOTHING | {"payments_asked": 1}
    assert app.status(payment.hold) == "completed"
    all_due(app)
    without_events(app)
    assert reconcile(app) == NOTHING
    assert app.violations() == []


@on_every_postgres
def test_what_was_cancelled_at_stripe_gives_its_seats_back(app: App) -> None:
    """A hold that was kept for Stripe's answer ends with it."""
    slot = app.slot()
    payment = app.payment(app.hold(slot))
    app.rows(
        "UPDATE ticket_reservations SET closing_at = now(), closing_as = 'cancelled', expires_at = now()"
    )
    app.stripe_client.v1.payment_intents.cancel(str(payment.intent_id))
    without_events(app)
    assert reconcile(app)["payments_asked"] == 1
    assert app.status(payment.hold) == "cancelled"
    assert app.counts(slot) == (0, 0, 0, 0)


@pytest.mark.parametrize("mode", ["payment_intent", "checkout_session"])
@on_every_postgres
def test_an_unknown_payment_is_found_by_our_id(app: App, mode: str) -> None:
    """Stripe made it and nobody heard: its ids are known afterwards, and the buyer's retry gets this very one."""
    hold = app.hold(app.slot())
    path = "/v1/payment_intents" if mode == "payment_intent" else "/v1/checkout/sessions"
    app.faults({"method": "POST", "path": path, "times": 3, "timeout_after": True})
    assert app.pay(hold, mode=mode).status == 503
    app.faults()
    without_events(app)
    known = "SELECT coalesce(payment_intent_id, checkout_session_id) FROM payment_intents_log"
    assert app.value(known) is None
    assert reconcile(app)["payments_asked"] == 1
    found = app.value(known)
    assert found
    answer = app.pay(hold, mode=mode).body
    assert found in (answer.get("payment_intent_id"), answer.get("checkout_session_id"))


def test_an_unknown_payment_that_stripe_never_made_stays_with_its_hold(app: App) -> None:
    """Nothing is found, nothing is changed: the buyer's retry or the end of the hold settles it."""
    hold = app.hold(app.slot())
    app.faults({"method": "POST", "path": "/v1/payment_intents", "times": 3, "timeout_before": True})
    assert app.pay(hold).status == 503
    app.faults()
    before = changes(app)
    assert reconcile(app) == NOTHING | {"payments_asked": 1}
    assert changes(app) == before


@on_every_postgres
def test_a_payment_is_asked_about_less_and_less_often(app: App) -> None:
    """After as long as it is old: a minute at least, six hours at most."""
    app.payment(app.hold(app.slot()))
    wait = "SELECT extract(epoch FROM next_reconcile_at - now())::integer FROM payment_intents_log"
    assert app.value(wait) <= 0
    for age, pause in (("0", 60), ("20 minutes", 1200), ("3 days", 6 * 3600)):
        app.rows("UPDATE payment_intents_log SET created_at = now() - %s::interval", age)
        all_due(app)
        assert reconcile(app)["payments_asked"] == 1
        assert abs(app.value(wait) - pause) < 30
        assert reconcile(app)["payments_asked"] == 0


@on_every_postgres
def test_a_payment_that_somebody_works_on_is_left_alone(app: App) -> None:
    """Whoever has the lease is asking Stripe at this moment."""
    app.payment(app.hold(app.slot()))
    app.rows("UPDATE payment_intents_log SET lease_until = now() + interval '10 s'")
    assert reconcile(app)["payments_asked"] == 0
    app.leases_over()
    assert reconcile(app)["payments_asked"] == 1


def test_a_payment_that_stripe_does_not_answer_about_keeps_no_other_waiting(app: App) -> None:
    """More than a batch, one of them without an answer: the others are settled."""
    slot = app.slot(units=20)
    payments = [paid(app, slot) for _ in range(10)]
    without_events(app)
    app.faults(
        {"method": "GET", "path": f"/v1/payment_intents/{payments[3].intent_id}", "times": 9, "status": 500}
    )
    assert reconcile(app)["payments_asked"] == 10
    assert app.status_counts() == {"active": 1, "completed": 9}


@on_every_postgres
def test_money_that_is_not_what_we_asked_for_books_nothing_when_it_is_asked_about(
    app: App, logs: Logs
) -> None:
    """Another amount than the payment's: as for an event, nobody is booked and a person is told."""
    payment = paid(app)
    without_events(app)
    app.rows("ALTER TABLE payment_intents_log DISABLE TRIGGER payments_facts_only_grow")
    app.rows("UPDATE payment_intents_log SET amount = 9900")
    reconcile(app)
    assert app.status(payment.hold) == "active"
    assert [line["reason"] for line in logs.lines("ERROR")] == ["amount"]
    assert "PaymentQuarantined" in logs.counted()
    app.expire(payment.hold)
    assert app.invoke("reservation-cleanup")["kept"] == 1
    assert app.count("bookings") == 0


# Second intents.


def second_intent(app: App, payment: Payment, *, pay: bool = False) -> str:
    """Another intent that Stripe has made for the payment."""
    made = app.stripe_client.v1.payment_intents.create(
        {
            "amount": payment.hold.amount,
            "currency": "eur",
            "metadata": {"holdfast_payment_id": payment.id, "holdfast_reservation_id": payment.hold.id},
        }
    )
    if pay:
        app.stripe_client.v1.payment_intents.confirm(made.id, {"payment_method": "pm_card_visa"})
    return made.id


@on_every_postgres
def test_a_second_intent_of_a_payment_is_cancelled(app: App) -> None:
    """Nobody can pay it; the first one stays as it is, and is paid."""
    payment = app.payment(app.hold(app.slot()))
    stray = second_intent(app, payment)
    reconcile(app)
    assert app.stripe_client.v1.payment_intents.retrieve(stray).status == "canceled"
    status = "SELECT status FROM payment_intents_log WHERE payment_intent_id = %s"
    assert app.value(status, stray) == "canceled"
    app.confirm(payment)
    reconcile(app)
    assert app.status(payment.hold) == "completed"
    assert app.count("refunds") == 0
    all_due(app)
    before = changes(app)
    reconcile(app)
    assert changes(app)["payment_intents_log"] == before["payment_intents_log"]
    assert app.violations() == []


@on_every_postgres
def test_a_second_intent_that_was_paid_too_goes_back(app: App) -> None:
    """Paid twice: one booking, one refund."""
    slot = app.slot()
    payment = app.booked(slot)
    second_intent(app, payment, pay=True)
    reconcile(app)
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.row("SELECT amount, reason FROM refunds") == (payment.hold.amount, "paid-twice")
    assert app.violations() == []


def test_a_second_intent_that_stripe_does_not_close_is_tried_again(app: App) -> None:
    """No answer: later, and later again."""
    payment = app.payment(app.hold(app.slot()))
    stray = second_intent(app, payment)
    path = f"/v1/payment_intents/{stray}/cancel"
    app.faults({"method": "POST", "path": path, "times": 3, "timeout_before": True})
    reconcile(app)
    app.faults()
    next_at: datetime = app.value(
        "SELECT next_reconcile_at FROM payment_intents_log WHERE payment_intent_id = %s", stray
    )
    assert next_at > app.value("SELECT now()")
    assert app.stripe_client.v1.payment_intents.retrieve(stray).status != "canceled"
    all_due(app)
    reconcile(app)
    assert app.stripe_client.v1.payment_intents.retrieve(stray).status == "canceled"


def test_an_intent_of_a_payment_that_we_do_not_have_is_left_alone_and_told(app: App, logs: Logs) -> None:
    """Our metadata and no row: another stack may share the account. A person looks; nothing is cancelled."""
    app.payment(app.hold(app.slot()))
    made = app.stripe_client.v1.payment_intents.create(
        {"amount": 4500, "currency": "eur", **ours(str(uuid4()))}  # pyright: ignore[reportArgumentType] - built in two steps
    )
    reconcile(app)
    assert app.stripe_client.v1.payment_intents.retrieve(made.id).status == "requires_payment_method"
    assert [line["outcome"] for line in logs.lines("ERROR")] == ["parked"]
