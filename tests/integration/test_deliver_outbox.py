"""What leaves the house: written with its cause, delivered at least once, given up in the open."""

import hashlib
import hmac
import time
from collections.abc import Generator
from datetime import timedelta
from typing import Any

import pytest

from runtime import outbox_kick
from tests.support.app import SETTINGS, App, Payment
from tests.support.logs import Logs
from tests.support.postgres import on_every_postgres
from tests.support.receiver import Receiver, receiving
from tests.support.stripe_events import event_of, intent

NOTHING = {"delivered": 0, "retried": 0, "dead": 0, "more": False}


@pytest.fixture
def site(app: App) -> Generator[Receiver]:
    """The site's back end, which is told."""
    with receiving() as receiver:
        app.set(NOTIFICATION_WEBHOOK_URL=f"{receiver.url}/told")
        yield receiver


def deliver(app: App) -> dict[str, Any]:
    return app.invoke("deliver-outbox")


def refund_due(app: App) -> Payment:
    """A payment whose money has to go back; its notification is delivered already."""
    slot = app.slot()
    payment = app.payment(app.hold(slot))
    app.confirm(payment)
    app.rows("SELECT release_holds(ARRAY[%s]::uuid[], 'cancelled')", payment.hold.id)
    assert app.outcome(app.event(payment.intent_id, "payment_intent.succeeded")) == "processed"
    app.rows("UPDATE outbox SET status = 'delivered' WHERE kind = 'notification'")
    return payment


def refunds_at_stripe(app: App, payment: Payment) -> list[str]:
    listed = app.stripe_client.v1.refunds.list({"payment_intent": str(payment.intent_id)}).data
    return [str(refund.status) for refund in listed]


@on_every_postgres
def test_a_booking_is_told_once_and_signed(app: App, site: Receiver) -> None:
    """The site is told who has booked what, under a stable delivery id, signed with our secret."""
    payment = app.booked(app.slot())
    assert deliver(app) == NOTHING | {"delivered": 1}
    assert deliver(app) == NOTHING
    (request,) = site.received
    told = request.document
    assert told["type"] == "booked"
    assert told["reservation_id"] == payment.hold.id
    assert told["booking_id"] == str(app.value("SELECT id FROM bookings"))
    assert told["customer"] == {"email": payment.hold.email, "name": "Ada Example"}
    assert told["id"] == request.headers["Holdfast-Delivery"] == str(app.value("SELECT id FROM outbox"))
    stamp, given = (part.partition("=")[2] for part in request.headers["Holdfast-Signature"].split(","))
    secret = SETTINGS["NOTIFICATION_SECRET"].encode()
    assert given == hmac.new(secret, stamp.encode() + b"." + request.body, hashlib.sha256).hexdigest()
    assert app.row("SELECT status, attempts FROM outbox") == ("delivered", 1)


@pytest.mark.parametrize("status", [500, 404, 302])
@on_every_postgres
def test_what_was_not_taken_is_told_again_later(app: App, site: Receiver, status: int) -> None:
    """Any answer but success is tried again, later and later, under the same delivery id."""
    app.booked(app.slot())
    site.statuses = [status, status]
    for pause in (timedelta(seconds=10), timedelta(seconds=20)):
        began = app.value("SELECT now()")
        assert deliver(app) == NOTHING | {"retried": 1}
        ended, due = app.row("SELECT now(), next_attempt_at FROM outbox")
        # A quarter more or less, from a moment in between.
        assert began + 0.75 * pause <= due <= ended + 1.25 * pause
        assert deliver(app) == NOTHING
        app.leases_over()
    assert deliver(app) == NOTHING | {"delivered": 1}
    assert len({request.headers["Holdfast-Delivery"] for request in site.received}) == 1
    assert app.row("SELECT status, attempts FROM outbox") == ("delivered", 3)


def test_a_receiver_that_does_not_answer_within_5_seconds_is_told_later(app: App, site: Receiver) -> None:
    """It may have heard: the next delivery has the same id."""
    app.booked(app.slot())
    site.delay_s = 8
    started = time.monotonic()
    assert deliver(app) == NOTHING | {"retried": 1}
    assert 5 <= time.monotonic() - started < 8
    assert "Timeout" in app.value("SELECT last_error FROM outbox")


def test_a_receiver_that_goes_on_answering_keeps_nobody_waiting(app: App, site: Receiver) -> None:
    """Its status has said it all: an answer without end is not listened to."""
    app.booked(app.slot())
    site.body_s = 30
    started = time.monotonic()
    assert deliver(app) == NOTHING | {"delivered": 1}
    assert time.monotonic() - started < 10


def test_a_receiver_that_is_away_is_told_later(app: App, site: Receiver) -> None:
    """Nobody listens: later."""
    app.booked(app.slot())
    app.set(NOTIFICATION_WEBHOOK_URL="http://127.0.0.1:9/told")
    assert deliver(app) == NOTHING | {"retried": 1}
    assert app.value("SELECT last_error FROM outbox")


def test_what_is_never_taken_dies_in_the_open(app: App, site: Receiver, logs: Logs) -> None:
    """After twelve tries it is dead, with its last error, an alarm and a metric."""
    app.booked(app.slot())
    site.status = 500
    app.rows("UPDATE outbox SET attempts = 11")
    assert deliver(app) == NOTHING | {"dead": 1}
    status, attempts, error = app.row("SELECT status, attempts, last_error FROM outbox")
    assert (status, attempts) == ("dead", 12)
    assert "500" in error
    assert logs.lines("ERROR")
    assert "OutboxDead" in logs.counted()
    assert deliver(app) == NOTHING


@pytest.mark.parametrize(
    ("setting", "effect"),
    [("NOTIFICATION_WEBHOOK_URL", "notification"), ("GITHUB_REPOSITORY", "error_issue")],
)
def test_without_a_receiver_there_is_nobody_to_tell(app: App, logs: Logs, setting: str, effect: str) -> None:
    """Where the settings name none, the row is canceled and says why; nothing is dead, and no alarm rings."""
    app.booked(app.slot())
    app.rows("UPDATE outbox SET kind = %s", effect)
    app.set(**{setting: ""})
    assert deliver(app) == NOTHING
    assert app.row("SELECT status, last_error FROM outbox") == ("canceled", f"{setting} is not set")
    assert "OutboxDead" not in logs.counted()
    assert logs.lines("ERROR") == []


def test_nothing_is_told_without_a_secret_to_sign_with(app: App, site: Receiver, logs: Logs) -> None:
    """A signature under an empty key would be anybody's: the function does not begin, and names what is missing."""
    app.booked(app.slot())
    app.set(NOTIFICATION_SECRET="")
    with pytest.raises(RuntimeError, match="not configured"):
        deliver(app)
    assert "NOTIFICATION_SECRET" in logs.text
    assert site.received == []
    assert app.row("SELECT status, attempts FROM outbox") == ("pending", 0)
    app.unset("NOTIFICATION_WEBHOOK_URL")
    assert deliver(app) == NOTHING


def test_one_receiver_that_fails_does_not_hold_up_the_others(app: App, site: Receiver) -> None:
    """Each row ends by itself; more than a batch goes in one run."""
    slot = app.slot(units=20)
    for _ in range(10):
        app.booked(slot)
    site.statuses = [500]
    assert deliver(app) == NOTHING | {"delivered": 9, "retried": 1}


@on_every_postgres
def test_a_lease_keeps_others_away_until_it_is_over(app: App, site: Receiver) -> None:
    """A run that died has its rows until the lease is over; then another run delivers them."""
    app.booked(app.slot())
    app.rows("SELECT * FROM claim_outbox(8, interval '60 s')")
    assert deliver(app) == NOTHING
    app.leases_over()
    assert deliver(app) == NOTHING | {"delivered": 1}


@on_every_postgres
def test_a_run_that_lost_its_lease_settles_nothing(app: App) -> None:
    """Attempts is the fencing token."""
    app.booked(app.slot())
    outbox_id = app.value("SELECT id FROM outbox")
    app.rows("UPDATE outbox SET attempts = 5")
    before = app.dump()
    assert app.value("SELECT settle_outbox(%s, 4, 'delivered', NULL)", outbox_id) is False
    app.rows("SELECT retry_outbox(%s, 4, 'late', NULL)", outbox_id)
    assert app.dump() == before


@on_every_postgres
def test_a_refund_is_sent_once(app: App, site: Receiver) -> None:
    """Stripe has one refund of the whole amount, the facts have grown, and the site is told that it went."""
    payment = refund_due(app)
    assert deliver(app) == NOTHING | {"delivered": 2}
    assert deliver(app) == NOTHING
    (told,) = [request.document for request in site.received]
    assert (told["type"], told["amount"], told["reservation_id"]) == ("refunded", 4500, payment.hold.id)
    assert told["refund_id"] == str(app.value("SELECT id FROM refunds"))
    assert refunds_at_stripe(app, payment) == ["succeeded"]
    status, stripe_id = app.row("SELECT status, stripe_refund_id FROM refunds")
    assert status == "succeeded"
    assert stripe_id.startswith("re_")
    assert app.value("SELECT refunded_amount FROM payment_intents_log") == 4500
    assert app.violations() == []


@pytest.mark.parametrize("fault", [{"timeout_after": True}, {"status": 429}, {"timeout_before": True}])
@on_every_postgres
def test_a_refund_whose_end_nobody_knows_is_asked_again_under_its_key(
    app: App, site: Receiver, fault: dict[str, Any]
) -> None:
    """No answer: later, the same key; one refund."""
    payment = refund_due(app)
    app.faults({"method": "POST", "path": "/v1/refunds", "times": 3} | fault)
    assert deliver(app) == NOTHING | {"retried": 1}
    app.faults()
    app.leases_over()
    assert deliver(app) == NOTHING | {"delivered": 2}
    assert refunds_at_stripe(app, payment) == ["succeeded"]
    assert app.value("SELECT key_number FROM refunds") == 1
    assert len(site.received) == 1


def test_a_stored_500_is_looked_behind_and_then_passed_by(app: App) -> None:
    """Stripe answers 500 under the key for a day: the refund is looked for, and sent under the next key."""
    payment = refund_due(app)
    app.faults({"method": "POST", "path": "/v1/refunds", "times": 1, "status": 500})
    for _ in range(4):
        if deliver(app)["delivered"]:
            break
        app.leases_over()
    assert refunds_at_stripe(app, payment) == ["succeeded"]
    assert app.value("SELECT status FROM refunds") == "succeeded"
    assert app.value("SELECT key_number FROM refunds") == 2


@on_every_postgres
def test_a_refund_that_stripe_refuses_is_tried_under_a_new_key_and_then_dead(app: App, logs: Logs) -> None:
    """Refused: looked for, then a new key, later; in the end dead and alarmed, and the money is still accounted for."""
    refund_due(app)
    app.faults({"method": "POST", "path": "/v1/refunds", "times": 99, "status": 400})
    assert deliver(app) == NOTHING | {"retried": 1}
    assert app.value("SELECT key_number FROM refunds") == 2
    app.leases_over()
    assert deliver(app) == NOTHING | {"retried": 1}
    assert app.value("SELECT key_number FROM refunds") == 3
    app.rows("UPDATE outbox SET attempts = 11")
    app.leases_over()
    logs.clear()
    assert deliver(app) == NOTHING | {"dead": 1}
    assert app.value("SELECT status FROM refunds") == "failed"
    assert app.value("SELECT status FROM outbox WHERE kind = 'refund'") == "dead"
    assert logs.lines("ERROR")
    assert "OutboxDead" in logs.counted()
    assert app.value("SELECT refunded_amount FROM payment_intents_log") == 0


def test_a_refused_refund_that_was_made_after_all_is_found(app: App, site: Receiver) -> None:
    """Stripe refuses the second because the first was made: found by our id, and done."""
    payment = refund_due(app)
    refund_id = str(app.value("SELECT id FROM refunds"))
    app.stripe_client.v1.refunds.create(
        {
            "payment_intent": str(payment.intent_id),
            "amount": 4500,
            "metadata": {"holdfast_refund_id": refund_id},
        }
    )
    assert deliver(app) == NOTHING | {"delivered": 2}
    assert refunds_at_stripe(app, payment) == ["succeeded"]
    assert app.value("SELECT status FROM refunds") == "succeeded"
    assert len(site.received) == 1


@pytest.mark.parametrize("ago", ["0", "25 hours"])
def test_a_refund_that_may_have_been_made_is_looked_for_first(app: App, ago: str) -> None:
    """After a day its key may be forgotten, and before that nobody need be asked: it is found, not made again."""
    payment = refund_due(app)
    app.faults({"method": "POST", "path": "/v1/refunds", "times": 3, "timeout_after": True})
    assert deliver(app)["retried"] == 1
    app.rows("UPDATE refunds SET first_asked_at = first_asked_at - %s::interval", ago)
    app.faults({"method": "POST", "path": "/v1/refunds", "times": 99, "timeout_before": True})
    app.leases_over()
    assert deliver(app)["delivered"] == 1
    assert refunds_at_stripe(app, payment) == ["succeeded"]


@on_every_postgres
def test_each_run_leaves_a_row(app: App) -> None:
    """The run's result is in job_runs."""
    result = deliver(app)
    assert app.row("SELECT job, result FROM job_runs") == ("deliver-outbox", result)


def test_runs_of_long_ago_are_forgotten(app: App) -> None:
    """A month of each job's runs is kept; a run forgets no other job's."""
    deliver(app)
    app.invoke("reservation-cleanup")
    app.rows("UPDATE job_runs SET started_at = started_at - interval '32 days'")
    deliver(app)
    assert app.rows("SELECT job, started_at > now() - interval '1 day' FROM job_runs ORDER BY job") == [
        ("deliver-outbox", True),
        ("reservation-cleanup", False),
    ]


def test_a_run_without_time_left_says_that_there_is_more(app: App, site: Receiver) -> None:
    """Time-boxed: what is left is for the next run."""
    app.booked(app.slot())
    assert app.invoke("deliver-outbox", seconds_left=1)["more"] is True
    assert deliver(app)["delivered"] == 1


# The kick.


@pytest.fixture
def lambda_service(app: App, monkeypatch: pytest.MonkeyPatch) -> Generator[Receiver]:
    """AWS Lambda, as far as invoking goes."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with receiving() as receiver:
        receiver.status = 202
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", receiver.url)
        outbox_kick.lambda_client.cache_clear()
        app.set(DELIVER_OUTBOX_FUNCTION="holdfast-deliver-outbox")
        yield receiver
        outbox_kick.lambda_client.cache_clear()


def test_a_refund_sends_the_outbox_off_at_once(app: App, lambda_service: Receiver) -> None:
    """The function that wrote the refund invokes deliver-outbox asynchronously, after its commit."""
    refund_due(app)
    (request,) = lambda_service.received
    assert request.path == "/2015-03-31/functions/holdfast-deliver-outbox/invocations"
    assert request.headers["X-Amz-Invocation-Type"] == "Event"


@pytest.mark.parametrize("status", [500, 429, 404])
def test_a_kick_that_fails_is_only_late(app: App, lambda_service: Receiver, status: int) -> None:
    """The schedule is the safety net: the webhook is answered all the same."""
    lambda_service.status = status
    payment = refund_due(app)
    assert deliver(app)["delivered"] == 1
    assert refunds_at_stripe(app, payment) == ["succeeded"]


def test_an_event_that_changes_nothing_kicks_nothing(app: App, lambda_service: Receiver) -> None:
    """No refund and no notification, no invocation."""
    payment = app.payment(app.hold(app.slot()))
    assert payment.intent_id is not None
    app.outcome(
        event_of("payment_intent.created", intent(payment.intent_id, 4500, "requires_payment_method"))
    )
    assert lambda_service.received == []
