"""Each alarm rings by what the functions really emit when it should, and is silent in a shop where all is well."""

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
import pytest

from domain import meter
from tests.support.alarms import ALARMS, TEMPLATE, metrics_of, own_name, rings, series_of
from tests.support.app import TOKEN_SECRET, App, Payment
from tests.support.logs import Logs
from tests.support.reconciliation import paid, poison, reconcile
from tests.support.stripe_events import event_of, intent
from tests.support.vault import vault_of

RUNBOOK = (Path(__file__).resolve().parents[2] / "docs/runbook.md").read_text()
OURS = {name for name, alarm in ALARMS.items() if {m["Namespace"] for m in metrics_of(alarm)} == {"Holdfast"}}
type Story = Callable[[App, pytest.MonkeyPatch], object]


def runbook_sql(name: str) -> list[str]:
    """The statements of the alarm's section."""
    for section in RUNBOOK.split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        if name in [part.strip() for part in heading.split(",")]:
            blocks = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
            return [each.strip() for block in blocks for each in block.split(";\n") if each.strip()]
    raise AssertionError(f"docs/runbook.md has no section {name}")


# What goes wrong.


def unanswered_by_stripe(app: App, path: str, method: str = "POST") -> None:
    app.faults({"method": method, "path": path, "times": 9, "status": 429})


def broken(app: App, table: str) -> None:
    app.rows(f"ALTER TABLE {table} ADD CONSTRAINT broken CHECK (false) NOT VALID")


def slow(app: App, table: str) -> None:
    """Every row of this table takes longer than an act may."""
    app.rows(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(0.12); RETURN NEW; END $$"
    )
    app.rows(f"CREATE TRIGGER slow BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION slow()")


def quarantined(app: App, _: object) -> None:
    payment = paid(app)
    event = app.event(payment.intent_id, "payment_intent.succeeded")
    assert app.outcome(event | {"livemode": True}) == "quarantined"


def failed_for_the_last_time(app: App, _: object) -> None:
    event = app.event(paid(app).intent_id, "payment_intent.succeeded")
    poison(app)
    app.deliver(event)
    app.rows("UPDATE webhook_events_log SET attempts = 11")
    assert app.deliver(event).status == 500


def taken_by_nobody(app: App, _: object) -> None:
    app.set(DATABASE_URL="postgresql://app@127.0.0.1:9/nowhere")
    event = event_of("payment_intent.succeeded", intent("pi_1", 4500, "succeeded"))
    assert app.deliver(event).status == 503


def of_another_version(app: App, _: object) -> None:
    event = app.event(paid(app).intent_id, "payment_intent.succeeded")
    assert app.outcome(event | {"api_version": "2019-12-03"}) == "processed"


def another_amount(app: App, _: object) -> None:
    paid(app)
    without_events(app)
    app.rows("ALTER TABLE payment_intents_log DISABLE TRIGGER payments_facts_only_grow")
    app.rows("UPDATE payment_intents_log SET amount = 9900")
    reconcile(app)


def without_events(app: App) -> None:
    app.rows("INSERT INTO job_cursors (job, reached_at) VALUES ('stripe-events', now() + interval '2 hours')")


def not_to_be_settled(app: App, _: object) -> None:
    paid(app)
    without_events(app)
    broken(app, "bookings")
    reconcile(app)


def never_delivered(app: App, _: object) -> None:
    app.booked(app.slot())
    app.set(NOTIFICATION_WEBHOOK_URL="http://127.0.0.1:9/told")
    app.rows("UPDATE outbox SET attempts = 11")
    assert app.invoke("deliver-outbox")["dead"] == 1


def told_of(app: App, object_id: str) -> None:
    """All that Stripe has said of it, and we have not heard."""
    known = {event_id for (event_id,) in app.rows("SELECT event_id FROM webhook_events_log")}
    for event in app.events(object_id):
        if event["id"] not in known:
            app.outcome(event)


def refund_that_fails(app: App, _: object) -> None:
    payment = app.booked(app.slot())
    _, made = app.emulator.act("/refunds", payment_intent=payment.intent_id, amount=4500)
    told_of(app, made["id"])
    app.emulator.act(f"/refunds/{made['id']}", outcome="failed")
    told_of(app, made["id"])


def disputed(app: App, outcome: str | None = None) -> None:
    payment = app.booked(app.slot())
    app.emulator.faults(settle_s=3600)
    _, made = app.emulator.act("/disputes", payment_intent=payment.intent_id)
    if outcome:
        app.emulator.act(f"/disputes/{made['id']}", outcome="under_review")
        app.emulator.act(f"/disputes/{made['id']}", outcome=outcome)
    told_of(app, made["id"])


def kept_past_its_ceiling(app: App, _: object) -> None:
    payment = app.payment(app.hold(app.slot()))
    unanswered_by_stripe(app, f"/v1/payment_intents/{payment.intent_id}/cancel")
    app.rows("UPDATE ticket_reservations SET ceiling_at = now() - interval '1 minute'")
    app.expire(payment.hold)
    assert app.invoke("reservation-cleanup")["kept"] == 1


def failing_run(app: App, _: object) -> None:
    broken(app, "job_runs")
    with pytest.raises(psycopg.errors.CheckViolation):
        app.invoke("seal-audit")


def failing_hold(app: App, _: object) -> None:
    slot = app.slot()
    broken(app, "customers")
    assert app.try_hold(slot).status == 500
    # As the function hands it over.
    report = {"message": "ValueError", "severity": "error", "source": "backend"}
    assert app.call("log-error", "POST", "/", report).status == 202


def critical_report(app: App, _: object) -> None:
    report = {"message": "nothing works", "severity": "critical"}
    assert app.call("log-error", "POST", "/", report).status == 202


def lost_secret(app: App, patch: pytest.MonkeyPatch, *, to: str | None = None) -> None:
    with vault_of(app, patch) as vault:
        vault.hold(TOKEN_SECRET=TOKEN_SECRET)
        hold = app.hold(app.slot())
        if to is None:
            vault.lose("TOKEN_SECRET")
        else:
            vault.rotate("TOKEN_SECRET", to)
        vault.wait(3600)
        app.show(hold)


def unsigned(app: App, _: object) -> None:
    for _ in range(5):
        assert app.deliver({}, secret="whsec_another").status == 400


def failing_events(app: App, _: object) -> None:
    """One in nineteen."""
    event = app.event(paid(app).intent_id, "payment_intent.succeeded")
    poison(app)
    assert app.deliver(event).status == 500
    for _ in range(18):
        app.outcome(event_of("customer.created", {}))


def locked_slot(app: App, _: object) -> None:
    """One of ten cannot get its lock."""
    slots = [app.slot() for _ in range(6)]
    app.rows(f"ALTER ROLE app IN DATABASE {app.value('SELECT current_database()')} SET lock_timeout = '50ms'")
    for slot in slots:
        app.hold(slot)
    with psycopg.connect(app.owner_url) as conn:
        conn.execute("SELECT FROM slots FOR UPDATE")
        assert app.try_hold(slots[0]).problem == "lock-timeout"


def contested(app: App, _: object) -> None:
    """Of fifty-two calls eleven come too late."""
    slot = app.slot(units=100)
    booked = app.booked(slot).hold
    for number in range(40):
        app.hold(slot, email=f"somebody{number}@example.com")
    for _ in range(13):
        assert app.cancel(booked).problem == "already-paid"


def slowly_held(app: App, _: object) -> None:
    slow(app, "ticket_reservations")
    slot = app.slot()
    for _ in range(2):
        app.hold(slot)


def slowly_paid(app: App, _: object) -> None:
    slow(app, "payment_intents_log")
    for _ in range(2):
        app.payment(app.hold(app.slot()))


def slowly_told(app: App, _: object) -> None:
    slow(app, "webhook_events_log")
    for _ in range(2):
        app.outcome(event_of("customer.created", {}))


def slowly_booked(app: App, _: object) -> None:
    slow(app, "bookings")
    slot = app.slot(pay_on_arrival=True)
    for _ in range(2):
        assert app.book(app.hold(slot)).status == 201


def found(*statements: str) -> Story:
    """What the check finds when these were executed in a shop that has sold."""

    def story(app: App, _: object) -> None:
        app.booked(app.slot())
        app.hold(app.slot())
        for statement in statements:
            app.rows(statement)
        app.invoke("check-promises")

    return story


def silence(_: App, __: object) -> None:
    """No run at all."""


def on_an_old_audit(app: App, _: object) -> None:
    app.hold(app.slot())
    app.rows("ALTER TABLE booking_audit_log DISABLE TRIGGER USER")
    app.rows("UPDATE booking_audit_log SET created_at = now() - interval '31 minutes'")
    app.invoke("check-promises")


STORIES: Mapping[str, Story] = {
    "WebhookNeedsPersonAlarm": quarantined,
    "WebhookDeadAlarm": failed_for_the_last_time,
    "WebhookNotQueuedAlarm": taken_by_nobody,
    "WebhookOtherApiVersionAlarm": of_another_version,
    "WebhookFailureRateAlarm": failing_events,
    "PaymentQuarantinedAlarm": another_amount,
    "OutboxDeadAlarm": never_delivered,
    "RefundFailedAlarm": refund_that_fails,
    "DisputeOpenAlarm": lambda app, _: disputed(app),
    "DisputeLostAlarm": lambda app, _: disputed(app, "lost"),
    "HoldPastCeilingAlarm": kept_past_its_ceiling,
    "JobFailedAlarm": failing_run,
    "ReconcileFailedAlarm": not_to_be_settled,
    "UncaughtFailureAlarm": failing_hold,
    "CriticalErrorsAlarm": critical_report,
    "SecretNotReadAlarm": lost_secret,
    "SecretNotUsableAlarm": lambda app, patch: lost_secret(app, patch, to="short"),
    "SignatureFailuresAlarm": unsigned,
    "LockTimeoutsAlarm": locked_slot,
    "ConflictsAlarm": contested,
    "ReservationsOwnTimeAlarm": slowly_held,
    "CreatePaymentIntentOwnTimeAlarm": slowly_paid,
    "StripeWebhookOwnTimeAlarm": slowly_told,
    "BookingsOwnTimeAlarm": slowly_booked,
    "InvariantViolationsAlarm": found("UPDATE slots SET sold_units = sold_units + 1 WHERE sold_units > 0"),
    "InvariantsUncheckedAlarm": lambda app, _: app.invoke("check-promises", seconds_left=0),
    "HoldsPastDeadlineAlarm": found(
        "UPDATE ticket_reservations SET expires_at = now() - interval '16 minutes'"
    ),
    "OutboxAgeAlarm": found("UPDATE outbox SET next_attempt_at = now() - interval '10 minutes'"),
    "NotificationSuccessAlarm": found("UPDATE outbox SET attempts = 1, last_error = 'answered 500'"),
    "ConnectionsAlarm": found(),
    "AuditUnsealedAlarm": on_an_old_audit,
    "RowsForAPersonAlarm": found("UPDATE webhook_events_log SET status = 'dead'"),
    "ReservationCleanupHeartbeatAlarm": silence,
    "DeliverOutboxHeartbeatAlarm": silence,
    "ReconcilePaymentsHeartbeatAlarm": silence,
    "SealAuditHeartbeatAlarm": silence,
    "CheckPromisesHeartbeatAlarm": silence,
}


@pytest.mark.parametrize("name", sorted(OURS))
def test_an_alarm_rings_when_it_should_and_its_runbook_shows_why(
    app: App, logs: Logs, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """By the very metric and dimensions that the functions write; the statements that its entry gives find something."""
    alarm = ALARMS[name]
    if name == "ConnectionsAlarm":
        alarm = alarm | {
            "Threshold": 1
        }  # a hundred and sixty connections are the server's to have, not a test's
    STORIES[name](app, monkeypatch)
    assert rings(alarm, series_of(logs.metrics()))
    for statement in runbook_sql(own_name(alarm)):
        rows = app.rows(statement.replace("%", "%%"))
        assert rows or not re.match(r"SELECT(?!.* FOR UPDATE$)", statement), statement


class NoTime:
    """No act takes any, however busy the machine is."""

    @staticmethod
    def perf_counter() -> float:
        return 0.0


def test_no_alarm_rings_where_all_is_well(app: App, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shop sells, is paid, gives back and cleans up; each metric that has a value then has a harmless one."""
    with monkeypatch.context() as patch:
        patch.setattr(meter, "time", NoTime)
        slot = app.slot(pay_on_arrival=True)
        for _ in range(2):
            assert app.book(app.hold(slot)).status == 201
            app.booked(slot)
        app.set(NOTIFICATION_WEBHOOK_URL=app.emulator.url)
        app.rows("UPDATE outbox SET status = 'delivered', attempts = 1, delivered_at = now()")
        app.cancel(app.hold(slot))
        without_events(app)
        for job in ("reservation-cleanup", "deliver-outbox", "reconcile-payments", "seal-audit"):
            app.invoke(job)
        app.invoke("check-promises")
    series = series_of(logs.metrics())
    assert [name for name in sorted(OURS) if rings(ALARMS[name], series)] == []
    assert ("Holdfast", "BookingsOwnTime", (("service", "tests"),)) in series


def test_every_dimension_is_the_stack() -> None:
    """The functions are told to write it as `service`, so that two stacks do not mix."""
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["POWERTOOLS_SERVICE_NAME"] == {"Ref": "AWS::StackName"}
    assert variables["POWERTOOLS_METRICS_NAMESPACE"] == "Holdfast"


def test_stripes_time_is_not_own_time(app: App, logs: Logs) -> None:
    """A payment for which Stripe takes two thirds of a second."""
    app.payment(app.hold(app.slot()))
    app.faults({"method": "POST", "path": "/v1/payment_intents", "times": 1, "status": 0, "delay_ms": 600})
    hold = app.hold(app.slot())
    logs.clear()
    began = time.perf_counter()
    _: Payment = app.payment(hold)
    wall_ms = (time.perf_counter() - began) * 1000
    (own_ms,) = logs.metrics()[0]["CreatePaymentIntentOwnTime"]
    assert 0 < own_ms <= wall_ms - 600
