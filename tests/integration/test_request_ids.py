"""One request id, from the answer that the browser gets to whatever follows from its call."""

import json
from collections.abc import Generator
from typing import Any

import pytest

from tests.support.app import App, Payment
from tests.support.lambda_events import Answer
from tests.support.logs import Logs
from tests.support.postgres import on_every_postgres
from tests.support.receiver import Receiver, receiving
from tests.support.sign_in import configure, token


@pytest.fixture
def site(app: App) -> Generator[Receiver]:
    """The site's back end, which is told."""
    with receiving() as receiver:
        app.set(NOTIFICATION_WEBHOOK_URL=f"{receiver.url}/told")
        yield receiver


def paid(app: App, *, mode: str = "payment_intent") -> tuple[str, Payment]:
    """A payment that Stripe has taken and not yet told of, and the request id of the answer that the buyer got."""
    hold = app.hold(app.slot())
    answer = app.pay(hold, mode=mode)
    assert answer.status == 201, answer
    ids = answer.body.get("payment_intent_id"), answer.body.get("checkout_session_id")
    payment = Payment(answer.body["payment_id"], hold, *ids)
    app.confirm(payment)
    return answer.headers["X-Request-Id"], payment


def audited(app: App, table: str) -> set[tuple[str, ...]]:
    """Who acted under which request id in the entries about the table."""
    return set(
        app.rows("SELECT performed_by, request_id FROM booking_audit_log WHERE table_name = %s", table)
    )


@on_every_postgres
def test_a_purchase_keeps_the_id_of_the_call_that_paid(app: App, site: Receiver, logs: Logs) -> None:
    """Payment, Stripe's metadata, event, booking, audit, outbox and notification: all say the X-Request-Id of that answer."""
    request_id, payment = paid(app)
    intent = app.stripe_client.v1.payment_intents.retrieve(str(payment.intent_id)).to_dict()
    event = app.event(payment.intent_id, "payment_intent.succeeded")
    delivery = app.deliver(event)
    app.invoke("deliver-outbox")

    assert intent["metadata"]["holdfast_request_id"] == request_id
    assert event["data"]["object"]["metadata"]["holdfast_request_id"] == request_id
    assert app.value("SELECT request_id FROM payment_intents_log") == request_id
    assert app.value("SELECT request_id FROM webhook_events_log") == request_id
    assert audited(app, "bookings") == {("stripe", request_id)}
    assert app.value("SELECT request_id FROM outbox") == request_id
    (told,) = site.received
    assert told.headers["X-Request-Id"] == told.document["request_id"] == request_id
    (line,) = (line for line in logs.lines() if line["message"] == "webhook")
    assert (line["request_id"], line["origin_request_id"]) == (delivery.headers["X-Request-Id"], request_id)


def test_a_hold_keeps_the_id_of_its_own_call(app: App) -> None:
    answer = app.try_hold(app.slot())
    assert app.value("SELECT request_id FROM ticket_reservations") == answer.headers["X-Request-Id"]
    assert audited(app, "ticket_reservations") == {("customer", answer.headers["X-Request-Id"])}


def test_a_session_carries_it_on_to_its_intent(app: App) -> None:
    """The hosted page makes an intent of its own, whose events say the same."""
    request_id, payment = paid(app, mode="checkout_session")
    assert app.outcome(app.event(payment.session_id, "checkout.session.completed")) == "processed"
    (intent,) = app.intents(payment.hold)
    assert intent.metadata
    assert intent.metadata.to_dict()["holdfast_request_id"] == request_id
    assert audited(app, "bookings") == {("stripe", request_id)}


def test_what_reconciliation_finds_out_goes_on_with_the_payments_story(app: App) -> None:
    """Nobody has told of the payment: a schedule has no request of its own to answer."""
    request_id, payment = paid(app)
    app.expire(payment.hold)
    app.invoke("reservation-cleanup")
    assert audited(app, "bookings") == {("system", request_id)}
    assert app.value("SELECT request_id FROM outbox WHERE kind = 'notification'") == request_id


def test_a_persons_call_stays_its_own(app: App) -> None:
    """Who cancels a hold that turns out to be paid has caused the booking by that call."""
    _, payment = paid(app)
    answer = app.cancel(payment.hold)
    assert answer.status == 409
    assert audited(app, "bookings") == {("customer", answer.headers["X-Request-Id"])}


def refund(app: App, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """An administrator's refund of the only booking."""
    configure(monkeypatch)
    booking = app.value("SELECT id FROM bookings")
    bearer = {"authorization": f"Bearer {token(role='admin')}"}
    answer = app.call("bookings", "POST", f"/bookings/{booking}/refunds", {"reason": "rain"}, bearer)
    assert answer.status == 202, answer
    return answer


def test_a_refund_has_the_id_of_the_call_that_asked_for_it(
    app: App, site: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its row, at Stripe, in the event that tells of it, in what that changes and in what the customer is told."""
    payment = app.booked(app.slot())
    request_id = refund(app, monkeypatch).headers["X-Request-Id"]
    app.invoke("deliver-outbox")
    (made,) = app.stripe_client.v1.refunds.list({"payment_intent": str(payment.intent_id)}).data
    assert made.metadata
    assert made.metadata.to_dict()["holdfast_request_id"] == request_id
    assert app.value("SELECT request_id FROM refunds") == request_id
    assert {("admin", request_id), ("system", request_id)} < audited(app, "refunds")
    assert app.outcome(app.event(made.id, "refund.created")) in ("processed", "stale")
    assert (
        app.value("SELECT request_id FROM webhook_events_log WHERE event_type = 'refund.created'")
        == request_id
    )
    app.invoke("deliver-outbox")
    told = [request for request in site.received if request.document["type"] == "refunded"]
    assert [request.headers["X-Request-Id"] for request in told] == [request_id]


def test_a_dispute_goes_on_with_the_payments_story(app: App) -> None:
    """A bank knows nothing of our metadata: the payment's own row says which story it is."""
    slot = app.slot()
    hold = app.hold(slot)
    answer = app.pay(hold)
    payment = Payment(answer.body["payment_id"], hold, answer.body["payment_intent_id"], None)
    app.confirm(payment, "pm_card_createDispute")
    for event in events_about(app, payment):
        app.outcome(event)
    request_id = answer.headers["X-Request-Id"]
    assert audited(app, "disputes") == {("stripe", request_id)}
    said = app.rows("SELECT request_id FROM webhook_events_log WHERE event_type LIKE 'charge.dispute.%%'")
    assert set(said) == {(request_id,)}


def events_about(app: App, payment: Payment) -> list[dict[str, Any]]:
    """All of Stripe's events that name the payment, oldest first."""
    return [event for event in app.all_events() if str(payment.intent_id) in json.dumps(event)]


def test_a_payment_made_before_there_was_the_column_is_known_by_what_stripe_was_asked(app: App) -> None:
    request_id, payment = paid(app)
    app.rows("UPDATE payment_intents_log SET request_id = NULL")
    event = app.event(payment.intent_id, "payment_intent.succeeded")
    event["data"]["object"]["metadata"].pop("holdfast_request_id")
    assert app.outcome(event) == "processed"
    assert audited(app, "bookings") == {("stripe", request_id)}
