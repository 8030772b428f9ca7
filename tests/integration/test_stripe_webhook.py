"""Every payment fact that Stripe tells, once, in whatever order and number it comes."""

import time
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.support.app import App, Payment
from tests.support.logs import Logs
from tests.support.postgres import on_every_postgres
from tests.support.stripe_events import checkout_session, event_of, intent

PAYMENT_TYPES = [
    f"payment_intent.{what}"
    for what in ("created", "processing", "requires_action", "succeeded", "payment_failed", "canceled")
]
SESSION_TYPES = [
    f"checkout.session.{what}"
    for what in ("completed", "async_payment_succeeded", "async_payment_failed", "expired")
]
LEDGER_TYPES = [
    "charge.refunded",
    *(f"refund.{what}" for what in ("created", "updated", "failed")),
    *(
        f"charge.dispute.{what}"
        for what in ("created", "updated", "closed", "funds_withdrawn", "funds_reinstated")
    ),
]


def paid(payment: Payment, **more: Any) -> dict[str, Any]:
    """Stripe's word that the payment's intent has succeeded, as it would be."""
    assert payment.intent_id is not None
    amount = payment.hold.amount
    return event_of("payment_intent.succeeded", intent(payment.intent_id, amount, "succeeded") | more)


def log_row(app: App, event: dict[str, Any]) -> tuple[Any, ...]:
    return app.row(
        "SELECT event_type, status, attempts, deliveries, reason FROM webhook_events_log WHERE event_id = %s",
        event["id"],
    )


@on_every_postgres
def test_an_event_is_applied_once(app: App) -> None:
    """The first delivery is processed, each other is a duplicate; one booking, one notification."""
    slot = app.slot()
    event = paid(app.payment(app.hold(slot)))
    assert [app.outcome(event) for _ in range(4)] == ["processed", "duplicate", "duplicate", "duplicate"]
    assert log_row(app, event) == ("payment_intent.succeeded", "processed", 1, 4, None)
    assert app.count("bookings") == app.count("outbox") == 1
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.violations() == []


@on_every_postgres
def test_two_events_of_one_fact_are_one_booking(app: App) -> None:
    """Stripe may tell the same fact under two ids: the second is stale."""
    payment = app.payment(app.hold(app.slot()))
    assert app.outcome(paid(payment)) == "processed"
    assert app.outcome(paid(payment)) == "stale"
    assert app.count("bookings") == 1


@on_every_postgres
def test_a_success_that_is_told_before_our_answer_is_stored_confirms_by_metadata(app: App) -> None:
    """The payment's row knows no intent yet: it is found by our id in Stripe's metadata."""
    slot = app.slot()
    hold = app.hold(slot)
    app.faults({"method": "POST", "path": "/v1/payment_intents", "times": 3, "timeout_after": True})
    assert app.pay(hold).status == 503
    app.faults()
    (made,) = app.intents(hold)
    app.stripe_client.v1.payment_intents.confirm(made.id, {"payment_method": "pm_card_visa"})

    assert app.outcome(app.event(made.id, "payment_intent.succeeded")) == "processed"

    assert app.row("SELECT payment_intent_id, status FROM payment_intents_log") == (made.id, "succeeded")
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.pay(hold).problem == "already-paid"
    assert app.violations() == []


@on_every_postgres
def test_failed_after_succeeded_is_stale(app: App) -> None:
    """A late payment_failed takes nothing back."""
    slot = app.slot()
    payment = app.payment(app.hold(slot))
    assert payment.intent_id is not None
    failed = event_of(
        "payment_intent.payment_failed",
        intent(payment.intent_id, 4500, "requires_payment_method"),
        created=int(time.time()) + 100,
    )
    assert app.outcome(paid(payment)) == "processed"
    assert app.outcome(failed) == "stale"
    assert app.value("SELECT status FROM payment_intents_log") == "succeeded"
    assert app.counts(slot) == (0, 1, 0, 1)


@on_every_postgres
def test_succeeded_after_failed_is_confirmed(app: App) -> None:
    """A success is a fact, also when it was true before what we heard last."""
    payment = app.payment(app.hold(app.slot()))
    assert payment.intent_id is not None
    failed = event_of(
        "payment_intent.payment_failed", intent(payment.intent_id, 4500, "requires_payment_method")
    )
    assert app.outcome(failed) == "processed"
    assert app.outcome(paid(payment) | {"created": 1_700_000_000}) == "processed"
    assert app.status(payment.hold) == "completed"
    assert app.violations() == []


def test_an_older_status_is_stale(app: App) -> None:
    """Of statuses the latest counts, in whatever order they come."""
    payment = app.payment(app.hold(app.slot()))
    assert payment.intent_id is not None
    now = int(time.time())
    action = event_of(
        "payment_intent.requires_action", intent(payment.intent_id, 4500, "requires_action"), created=now
    )
    created = event_of(
        "payment_intent.created", intent(payment.intent_id, 4500, "requires_payment_method"), created=now - 9
    )
    assert app.outcome(action) == "processed"
    assert app.outcome(created) == "stale"
    assert app.value("SELECT status FROM payment_intents_log") == "requires_action"


@on_every_postgres
def test_a_canceled_intent_releases_a_hold_that_is_over(app: App) -> None:
    """Stripe tells that nothing can be paid any more: seats of a hold that is over go, a live hold goes on."""
    slot = app.slot()
    over, alive = app.payment(app.hold(slot)), app.payment(app.hold(slot))
    app.expire(over.hold)
    for payment in (over, alive):
        assert payment.intent_id is not None
        event = event_of("payment_intent.canceled", intent(payment.intent_id, 4500, "canceled"))
        assert app.outcome(event) == "processed"
    assert app.status(over.hold) == "expired"
    assert app.status(alive.hold) == "active"
    assert app.counts(slot) == (1, 0, 1, 0)
    assert app.pay(alive.hold).status == 201
    assert app.violations() == []


@pytest.mark.parametrize("event_type", ["customer.created", "invoice.paid", "made.up", "charge.succeeded"])
def test_any_other_type_is_ignored_before_any_gate(app: App, event_type: str) -> None:
    """Nothing is looked at but the type: another mode, account or version makes no difference."""
    event = event_of(event_type, {}, livemode=True, account="acct_theirs", api_version="2011-01-01")
    assert app.outcome(event) == "ignored"
    assert app.outcome(event) == "duplicate"
    assert app.value("SELECT status FROM webhook_events_log") == "ignored"


@pytest.mark.parametrize("event_type", LEDGER_TYPES)
def test_a_refund_or_dispute_of_no_payment_of_ours_is_parked(app: App, event_type: str) -> None:
    """Kept with its payload, and tried again each time it comes."""
    event = event_of(event_type, {"id": "re_1", "object": "refund", "payment_intent": "pi_1", "amount": 5})
    assert [app.outcome(event) for _ in range(2)] == ["parked", "parked"]
    row = app.row(
        "SELECT status, deliveries, payload -> 'data' -> 'object' ->> 'amount' FROM webhook_events_log"
    )
    assert row == ("parked", 2, "5")


@pytest.mark.parametrize("event_type", PAYMENT_TYPES)
def test_an_intent_of_another_program_is_parked_in_silence(app: App, logs: Logs, event_type: str) -> None:
    """A shared account: no metadata of ours, no alarm."""
    assert app.outcome(event_of(event_type, intent("pi_of_others", 700, "succeeded"))) == "parked"
    assert app.value("SELECT reason FROM webhook_events_log") == "not made by this system"
    assert logs.lines("ERROR", "CRITICAL") == []


@pytest.mark.parametrize("event_type", SESSION_TYPES)
def test_a_session_of_another_program_is_parked_in_silence(app: App, logs: Logs, event_type: str) -> None:
    """The same for sessions."""
    assert (
        app.outcome(event_of(event_type, checkout_session("cs_of_others", 700, "complete", "paid")))
        == "parked"
    )
    assert logs.lines("ERROR", "CRITICAL") == []


@on_every_postgres
def test_an_event_for_a_payment_that_is_not_there_is_parked_and_matched_later(app: App, logs: Logs) -> None:
    """Our metadata and no row: parked with an alarm. The row appears and the event comes again: applied."""
    slot = app.slot()
    hold = app.hold(slot)
    payment_id = str(uuid4())
    event = event_of(
        "payment_intent.succeeded",
        intent("pi_early", 4500, "succeeded", metadata={"holdfast_payment_id": payment_id}),
    )
    assert app.outcome(event) == "parked"
    assert log_row(app, event)[1:] == ("parked", 1, 1, "no such payment here")
    assert logs.lines("ERROR")
    assert "WebhookParked" in logs.counted()

    app.rows(
        """
        INSERT INTO payment_intents_log (id, reservation_id, mode, idempotency_key, amount, currency, parameters, lease_until)
        VALUES (%s, %s, 'payment_intent', 'payment:x:1', 4500, 'eur', '{}', now())
        """,
        payment_id,
        hold.id,
    )
    app.rows("UPDATE ticket_reservations SET payment_id = %s", payment_id)

    assert app.outcome(event) == "processed"
    assert log_row(app, event)[1:] == ("processed", 2, 2, None)
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.violations() == []


GATES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("amount", {"amount": 4501, "amount_received": 4501}, {}),
    ("amount", {"amount": 1, "amount_received": 1}, {}),
    ("amount", {"amount": True, "amount_received": True}, {}),
    ("amount", {"amount": "4500"}, {}),
    ("amount", {"amount": None}, {}),
    ("amount", {"amount": 10**40}, {}),
    ("currency", {"currency": "usd"}, {}),
    ("currency", {"currency": "EUR"}, {}),
    ("currency", {"currency": None}, {}),
    ("amount-received", {"amount_received": 4499}, {}),
    ("amount-received", {"amount_received": 0}, {}),
    ("amount-received", {"amount_received": None}, {}),
    ("livemode", {}, {"livemode": True}),
    ("account", {}, {"account": "acct_theirs"}),
    ("account", {}, {"account": 17}),
]


@pytest.mark.parametrize(("reason", "changed", "envelope"), GATES)
@on_every_postgres
def test_what_cannot_be_our_payment_is_quarantined(
    app: App, logs: Logs, reason: str, changed: dict[str, Any], envelope: dict[str, Any]
) -> None:
    """Wrong amount, currency, mode, account, or received too little: 200, no booking, an alarm, and no second look."""
    slot = app.slot()
    payment = app.payment(app.hold(slot))
    event = paid(payment, **changed) | envelope

    assert app.outcome(event) == "quarantined"
    assert log_row(app, event)[1:] == ("quarantined", 1, 1, reason)
    assert app.outcome(event) == "duplicate"

    assert app.counts(slot) == (1, 0, 1, 0)
    assert app.count("bookings") == app.count("outbox") == 0
    assert app.value("SELECT captured_amount FROM payment_intents_log") == 0
    assert logs.lines("ERROR")
    assert "WebhookQuarantined" in logs.counted()
    assert app.outcome(paid(payment)) == "processed"


@pytest.mark.parametrize("missing", ["amount_received", "amount", "currency"])
def test_a_success_without_its_figures_is_quarantined(app: App, logs: Logs, missing: str) -> None:
    """What does not say how much was received is no proof that anything was: a person looks at Stripe."""
    slot = app.slot()
    event = paid(app.payment(app.hold(slot)))
    del event["data"]["object"][missing]
    assert app.outcome(event) == "quarantined"
    assert "WebhookNeedsPerson" in logs.counted()
    assert app.count("bookings") == 0
    assert app.status_counts() == {"active": 1}


@pytest.mark.parametrize(
    ("reason", "envelope"), [("livemode", {"livemode": True}), ("account", {"account": "acct_theirs"})]
)
@pytest.mark.parametrize(
    "event_type",
    ["payment_intent.succeeded", "charge.refunded", "refund.created", "charge.dispute.created"],
)
def test_what_is_not_meant_for_us_is_quarantined_without_a_payment_of_ours_too(
    app: App, logs: Logs, event_type: str, reason: str, envelope: dict[str, Any]
) -> None:
    """Another mode, another account: nothing is looked up here or at Stripe, and a person is told."""
    app.faults(
        {"method": "GET", "path": "/v1/refunds", "times": 9, "status": 500},
        {"method": "GET", "path": "/v1/payment_intents/pi_theirs", "times": 9, "status": 500},
    )
    theirs = intent("pi_theirs", 4500, "succeeded", payment_intent="pi_theirs")
    event = event_of(event_type, theirs, **envelope)
    assert app.outcome(event) == "quarantined"
    assert log_row(app, event)[1:] == ("quarantined", 1, 1, reason)
    assert "WebhookNeedsPerson" in logs.counted()


def test_our_own_account_may_be_named(app: App) -> None:
    """An event that names our account is ours."""
    assert app.outcome(paid(app.payment(app.hold(app.slot()))) | {"account": "acct_ours"}) == "processed"


def test_a_session_passes_the_same_gate(app: App) -> None:
    """A session of another amount is quarantined."""
    payment = app.payment(app.hold(app.slot()), mode="checkout_session")
    assert payment.session_id is not None
    wrong = checkout_session(payment.session_id, 4499, "complete", "paid", payment_intent="pi_of_session")
    assert app.outcome(event_of("checkout.session.completed", wrong)) == "quarantined"
    right = checkout_session(payment.session_id, 4500, "complete", "paid", payment_intent="pi_of_session")
    assert app.outcome(event_of("checkout.session.completed", right)) == "processed"


def test_an_event_of_another_version_is_looked_up(app: App, logs: Logs) -> None:
    """The object is fetched from Stripe in our version; what the event itself says of it does not count."""
    payment = app.payment(app.hold(app.slot()))
    app.confirm(payment)
    lying = paid(payment, amount=1, amount_received=1) | {"api_version": "2019-12-03"}
    assert app.outcome(lying) == "processed"
    assert app.status(payment.hold) == "completed"
    assert "WebhookOtherApiVersion" in logs.counted()


def test_an_event_of_another_version_that_stripe_does_not_confirm_books_nothing(app: App) -> None:
    """The event claims success, Stripe itself does not: nothing is booked."""
    payment = app.payment(app.hold(app.slot()))
    assert app.outcome(paid(payment) | {"api_version": "2019-12-03"}) == "processed"
    assert app.status(payment.hold) == "active"
    assert app.count("bookings") == 0


def test_an_event_of_another_version_waits_for_stripe(app: App) -> None:
    """Stripe does not answer: 5xx, kept as failed, done when it comes again."""
    payment = app.payment(app.hold(app.slot()))
    app.confirm(payment)
    event = paid(payment) | {"api_version": "2019-12-03"}
    app.faults(
        {
            "method": "GET",
            "path": f"/v1/payment_intents/{payment.intent_id}",
            "times": 9,
            "timeout_before": True,
        }
    )
    answer = app.deliver(event)
    assert (answer.status, answer.problem) == (500, "event-not-applied")
    assert log_row(app, event)[1] == "failed"
    app.faults()
    assert app.outcome(event) == "processed"


@on_every_postgres
def test_a_failed_event_is_done_again_when_stripe_comes_again(app: App) -> None:
    """The effect fails: all of it is rolled back, 5xx, the event is kept with its reason; the next delivery applies it."""
    slot = app.slot()
    event = paid(app.payment(app.hold(slot)))
    app.rows("ALTER FUNCTION notify(text, uuid, uuid, uuid, text, bigint) RENAME TO notify_away")
    before = app.dump()

    for attempt in (1, 2):
        answer = app.deliver(event)
        assert (answer.status, answer.problem) == (500, "event-not-applied")
        assert log_row(app, event)[:4] == ("payment_intent.succeeded", "failed", attempt, attempt)

    assert app.value("SELECT last_error FROM webhook_events_log")
    assert app.value("SELECT next_attempt_at > now() FROM webhook_events_log")
    after = app.dump()
    assert [table for table in before if before[table] != after[table]] == ["webhook_events_log"]

    app.rows("ALTER FUNCTION notify_away(text, uuid, uuid, uuid, text, bigint) RENAME TO notify")
    assert app.outcome(event) == "processed"
    assert log_row(app, event)[1:] == ("processed", 3, 3, None)
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.violations() == []


def test_a_dead_event_is_done_again_too(app: App) -> None:
    """What was given up is taken up again when Stripe brings it."""
    event = paid(app.payment(app.hold(app.slot())))
    app.rows("ALTER FUNCTION notify(text, uuid, uuid, uuid, text, bigint) RENAME TO notify_away")
    assert app.deliver(event).status == 500
    app.rows("ALTER FUNCTION notify_away(text, uuid, uuid, uuid, text, bigint) RENAME TO notify")
    app.rows("UPDATE webhook_events_log SET status = 'dead'")
    assert app.outcome(event) == "processed"


def test_no_secret_of_an_event_is_stored(app: App) -> None:
    """The payload is kept without its client secrets, wherever they stand in it."""
    payment = app.payment(app.hold(app.slot()))
    event = paid(payment, nested=[{"client_secret": "pi_deep_secret_x"}])
    app.outcome(event)
    stored = app.value("SELECT payload::text FROM webhook_events_log")
    assert payment.intent_id in stored
    assert "client_secret" not in stored
    assert "_secret_" not in stored


def test_the_database_away_is_503(app: App) -> None:
    """No queue yet to hold the event: Stripe is told to come again."""
    event = paid(app.payment(app.hold(app.slot())))
    app.set(DATABASE_URL="postgresql://app@127.0.0.1:9/nowhere")
    answer = app.deliver(event)
    assert (answer.status, answer.problem) == (503, "database-unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    app.set(DATABASE_URL=app.app_url)
    assert app.outcome(event) == "processed"


def test_a_parallel_duplicate_that_would_wait_too_long_is_5xx(app: App) -> None:
    """While another delivery has the event's row, this one waits for two seconds, then says: come again."""
    event = paid(app.payment(app.hold(app.slot())))
    assert app.outcome(event) == "processed"
    with psycopg.connect(app.owner_url) as other:
        other.execute("SELECT 1 FROM webhook_events_log FOR UPDATE")
        started = time.monotonic()
        answer = app.deliver(event)
        waited = time.monotonic() - started
    assert answer.status >= 500
    assert waited < 10
    assert app.outcome(event) == "duplicate"


# Sessions.


@on_every_postgres
def test_a_completed_but_unpaid_session_keeps_its_seats(app: App) -> None:
    """A voucher was handed out: funds are awaited, the hold is kept, and the money confirms it later."""
    slot = app.slot()
    payment = app.payment(app.hold(slot), mode="checkout_session")
    assert payment.session_id is not None
    unpaid = checkout_session(payment.session_id, 4500, "complete", "unpaid", payment_intent="pi_voucher")
    assert app.outcome(event_of("checkout.session.completed", unpaid)) == "processed"
    assert app.value("SELECT funds_awaited_at IS NOT NULL FROM payment_intents_log")
    assert app.counts(slot) == (1, 0, 1, 0)
    came = unpaid | {"payment_status": "paid"}
    assert app.outcome(event_of("checkout.session.async_payment_succeeded", came)) == "processed"
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.violations() == []


@on_every_postgres
def test_a_session_whose_voucher_was_not_paid_ends_its_hold(app: App) -> None:
    """The delayed payment failed: nothing can be paid any more, so a hold that is over gives its seats back."""
    slot = app.slot()
    payment = app.payment(app.hold(slot), mode="checkout_session")
    assert payment.session_id is not None
    app.expire(payment.hold)
    failed = checkout_session(payment.session_id, 4500, "complete", "unpaid", payment_intent="pi_voucher")
    assert app.outcome(event_of("checkout.session.async_payment_failed", failed)) == "processed"
    assert app.status(payment.hold) == "expired"
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.violations() == []


@on_every_postgres
def test_a_session_paid_after_the_deadline_is_seated_or_refunded(app: App) -> None:
    """The page was paid when the hold was over but not yet cleaned up: confirmed, since its seats are still held."""
    slot = app.slot()
    payment = app.payment(app.hold(slot), mode="checkout_session")
    app.expire(payment.hold)
    app.confirm(payment)
    assert app.outcome(app.event(payment.session_id, "checkout.session.completed")) == "processed"
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.violations() == []


@on_every_postgres
def test_a_session_that_we_expired_is_told_as_stale(app: App) -> None:
    """We expired it: what Stripe then tells changes nothing any more."""
    slot = app.slot()
    payment = app.payment(app.hold(slot), mode="checkout_session")
    app.expire(payment.hold)
    assert app.invoke("reservation-cleanup")["released"] == 1
    assert app.outcome(app.event(payment.session_id, "checkout.session.expired")) == "stale"
    assert app.counts(slot) == (0, 0, 0, 0)


@on_every_postgres
def test_a_session_that_expires_by_itself_releases_its_hold(app: App) -> None:
    """Stripe expired it: the seats go with the event, before any cleanup."""
    slot = app.slot()
    payment = app.payment(app.hold(slot), mode="checkout_session")
    assert payment.session_id is not None
    app.expire(payment.hold)
    app.stripe_client.v1.checkout.sessions.expire(payment.session_id)
    assert app.outcome(app.event(payment.session_id, "checkout.session.expired")) == "processed"
    assert app.status(payment.hold) == "expired"
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.violations() == []


def test_the_intent_of_a_session_may_be_told_before_the_session(app: App) -> None:
    """The intent's success comes first, by our metadata: one booking; the session's word is then stale."""
    payment = app.payment(app.hold(app.slot()), mode="checkout_session")
    app.confirm(payment)
    completed = app.event(payment.session_id, "checkout.session.completed")
    succeeded = app.event(completed["data"]["object"]["payment_intent"], "payment_intent.succeeded")
    assert app.outcome(succeeded) == "processed"
    assert app.outcome(completed) == "stale"
    assert app.count("bookings") == 1
    assert app.violations() == []
