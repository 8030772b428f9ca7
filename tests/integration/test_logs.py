"""What the functions log: the ids that tie a line to its story, and nothing about the buyer."""

import subprocess
import sys

from tests.support.app import App, new_key
from tests.support.logs import Logs
from tests.support.receiver import receiving


def test_a_whole_purchase_leaves_no_personal_data_in_the_logs(app: App, logs: Logs) -> None:
    """Address, name, phone, client secret, token, keys and secrets: none is in any line or metric."""
    slot, key = app.slot(), new_key()
    body = app.hold_request(
        slot, email="ada.lovelace@example.com", name="Ada Lovelace", phone="+43 660 1234567"
    )
    held = app.call("reservations", "POST", "/reservations", body, {"idempotency-key": key}).body
    headers = {"x-reservation-token": held["token"]}
    app.call("reservations", "GET", f"/reservations/{held['id']}", headers=headers)
    paid = app.call("create-payment-intent", "POST", "/", {"reservation_id": held["id"]}, headers).body
    app.stripe_client.v1.payment_intents.confirm(
        paid["payment_intent_id"], {"payment_method": "pm_card_visa"}
    )
    event = app.event(paid["payment_intent_id"], "payment_intent.succeeded")
    assert app.outcome(event) == "processed"
    app.deliver(event, secret="whsec_wrong")
    app.call("reservations", "DELETE", f"/reservations/{held['id']}", headers=headers)
    app.call("reservations", "POST", "/reservations", body | {"items": []})
    with receiving() as site:
        app.set(NOTIFICATION_WEBHOOK_URL=site.url)
        app.invoke("deliver-outbox")
        site.status = 500
        app.rows("UPDATE outbox SET status = 'pending'")
        app.invoke("deliver-outbox")
    app.invoke("reservation-cleanup")

    text = logs.text
    assert text
    for secret in (
        "lovelace",
        "Lovelace",
        "1234567",
        paid["client_secret"],
        "_secret_",
        held["token"],
        key,
        "whsec_",
        "sk_test_",
    ):
        assert secret not in text, secret


def test_what_postgresql_says_of_a_row_stays_out_of_the_logs(app: App, logs: Logs) -> None:
    """A violated constraint's DETAIL repeats the row, and the row is the buyer's; its name alone is logged."""
    slot = app.slot()
    app.rows("ALTER TABLE customers ADD CONSTRAINT nobody_comes_in CHECK (false) NOT VALID")
    assert app.try_hold(slot, email="ada.lovelace@example.com").status == 500
    assert "nobody_comes_in" in logs.text
    assert "lovelace" not in logs.text
    assert "Ada Example" not in logs.text


def test_each_line_of_a_payment_carries_its_ids(app: App, logs: Logs) -> None:
    """Request, reservation, payment and Stripe event, on every line once they are known."""
    payment = app.payment(app.hold(app.slot()))
    app.confirm(payment)
    event = app.event(payment.intent_id, "payment_intent.succeeded")
    logs.clear()

    answer = app.deliver(event)

    lines = logs.lines()
    assert lines
    assert {line["request_id"] for line in lines} == {answer.headers["X-Request-Id"]}
    assert {line["function_name"] for line in lines} == {"tests-stripe-webhook"}
    assert {line["stripe_event_id"] for line in lines} == {event["id"]}
    (outcome,) = [line for line in lines if line["message"] == "webhook"]
    assert (outcome["payment_id"], outcome["reservation_id"]) == (payment.id, payment.hold.id)
    assert (outcome["outcome"], outcome["event_type"]) == ("processed", "payment_intent.succeeded")


def test_the_ids_of_one_invocation_are_gone_in_the_next(app: App, logs: Logs) -> None:
    """Nothing of one caller is on another's lines."""
    hold = app.hold(app.slot())
    app.show(hold)
    logs.clear()
    app.call("reservations", "GET", "/nope")
    assert all("reservation_id" not in line for line in logs.lines())


def test_each_outcome_is_counted(app: App, logs: Logs) -> None:
    """A metric for what was granted, refused, paid and told."""
    slot = app.slot(units=1)
    payment = app.payment(app.hold(slot))
    app.try_hold(slot)
    app.confirm(payment)
    app.outcome(app.event(payment.intent_id, "payment_intent.succeeded"))
    app.deliver(b"{}", secret="whsec_wrong")
    counted = logs.counted()
    assert {
        "HoldGranted",
        "HoldSoldOut",
        "PaymentCreated",
        "WebhookProcessed",
        "WebhookSignatureInvalid",
        "Refused",
    } <= counted
    assert all(metric["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Holdfast" for metric in logs.metrics())


PYTHONPATH = ".:shared:layers/postgres:layers/stripe"
COLD = """
import sys
from tests.support.lambda_events import Context, url_event
from functions.health.handler import lambda_handler
from functions.reservations.handler import lambda_handler as reservations
answered = lambda_handler(url_event("GET", "/live"), Context())
reservations(url_event("GET", "/nope"), Context())
assert answered["statusCode"] == 200
print(*sorted({"sentry_sdk", "boto3", "aws_xray_sdk"} & set(sys.modules)))
"""


def test_without_a_dsn_sentry_is_not_even_imported() -> None:
    """Nor is boto3: a cold start pays only for what is used."""
    run = subprocess.run(
        [sys.executable, "-c", COLD],
        env={
            "PYTHONPATH": PYTHONPATH,
            "POWERTOOLS_METRICS_NAMESPACE": "Holdfast",
            "POWERTOOLS_SERVICE_NAME": "x",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == ""
