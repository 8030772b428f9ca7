"""Payments whose money comes later, or not: bank debits and vouchers, by intent and by hosted session."""

import time
from typing import Any

import pytest
import stripe

from tests.emulator_process import Emulator, eventually

_TYPES = ["card", "sepa_debit", "us_bank_account", "boleto", "oxxo", "konbini"]


def confirmed(client: stripe.StripeClient, method: str, currency: str = "eur") -> stripe.PaymentIntent:
    return client.v1.payment_intents.create(
        {
            "amount": 2500,
            "currency": currency,
            "allowed_payment_method_types": _TYPES,
            "payment_method": method,
            "confirm": True,
        }
    )


def submitted(running: Emulator, method: str, currency: str = "eur") -> stripe.checkout.Session:
    """A session whose page a buyer has submitted."""
    price = {"currency": currency, "unit_amount": 1250, "product_data": {"name": "Seat"}}
    parameters: Any = {
        "mode": "payment",
        "line_items": [{"price_data": price, "quantity": 2}],
        "success_url": "http://127.0.0.1:1/done",
        "allowed_payment_method_types": _TYPES,
    }
    sessions = running.client().v1.checkout.sessions
    session = sessions.create(parameters)
    assert running.act(f"/checkout/{session.id}/pay", payment_method=method)[0] == 200
    return sessions.retrieve(session.id)


def types_about(client: stripe.StripeClient, object_id: str) -> list[str]:
    listed = client.v1.events.list({"limit": 100}).auto_paging_iter()
    return [event.type for event in listed if object_id in str(event.data.object)][::-1]


def test_a_debit_is_processing_until_the_bank_pays(running: Emulator, client: stripe.StripeClient) -> None:
    """A debit has a pending charge and no money yet; when the bank pays, it is a payment like any other."""
    intent = confirmed(client, "pm_success_de")
    assert (intent.status, intent.amount_received) == ("processing", 0)
    charge = client.v1.charges.retrieve(str(intent.latest_charge))
    assert (charge.status, charge.paid) == ("pending", False)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"payment_intent": intent.id})
    assert running.act(f"/payments/{intent.id}", outcome="succeeded")[0] == 200
    paid = client.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    assert (paid.status, paid.amount_received) == ("succeeded", 2500)
    assert isinstance(paid.latest_charge, stripe.Charge)
    assert (paid.latest_charge.id, paid.latest_charge.status) == (charge.id, "succeeded")
    assert types_about(client, intent.id) == [
        "payment_intent.created",
        "payment_intent.processing",
        "charge.pending",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]
    assert client.v1.refunds.create({"payment_intent": intent.id}).status == "pending"
    assert running.act(f"/payments/{intent.id}", outcome="succeeded")[0] == 400


@pytest.mark.parametrize(
    ("method", "currency", "code"),
    [
        ("pm_insufficientFunds_de", "eur", "insufficient_funds"),
        ("pm_usBankAccount_noAccount", "usd", "no_account"),
    ],
)
def test_a_debit_that_the_bank_refuses(
    running: Emulator, client: stripe.StripeClient, method: str, currency: str, code: str
) -> None:
    """A refused debit leaves the intent open for another method, and says why."""
    intent = confirmed(client, method, currency)
    assert intent.status == "processing"
    running.faults(settle_s=0)
    eventually(lambda: client.v1.payment_intents.retrieve(intent.id).status == "requires_payment_method")
    refused = client.v1.payment_intents.retrieve(intent.id)
    assert refused.last_payment_error is not None
    assert refused.last_payment_error.code == code
    assert types_about(client, intent.id)[-2:] == ["charge.failed", "payment_intent.payment_failed"]
    paid = client.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert paid.status == "succeeded"


def test_a_debit_with_the_bank_is_not_always_cancelled(client: stripe.StripeClient) -> None:
    """An ACH debit that is processing can be cancelled, and is never paid then; a SEPA debit cannot."""
    ach = confirmed(client, "pm_usBankAccount_processing", "usd")
    assert client.v1.payment_intents.cancel(ach.id).status == "canceled"
    assert client.v1.charges.retrieve(str(ach.latest_charge)).status == "failed"
    sepa = confirmed(client, "pm_success_de")
    with pytest.raises(stripe.InvalidRequestError, match="status of processing") as refused:
        client.v1.payment_intents.cancel(sepa.id)
    assert refused.value.code == "payment_intent_unexpected_state"
    assert client.v1.payment_intents.retrieve(sepa.id).status == "processing"


def test_a_debit_that_is_disputed_is_lost(running: Emulator, client: stripe.StripeClient) -> None:
    """A bank takes a disputed debit back for good: opened, withdrawn and closed as lost."""
    intent = confirmed(client, "pm_disputed_de")
    assert running.act("/pending")[0] == 200
    (dispute,) = client.v1.disputes.list({"payment_intent": intent.id}).data
    assert (dispute.status, dispute.is_charge_refundable) == ("lost", False)
    assert [kind for kind in types_about(client, intent.id) if "dispute" in kind] == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.closed",
    ]


@pytest.mark.parametrize(
    ("outcome", "payment_status", "event"),
    [
        ("succeeded", "paid", "checkout.session.async_payment_succeeded"),
        ("failed", "unpaid", "checkout.session.async_payment_failed"),
    ],
)
@pytest.mark.parametrize("method", [("pm_success_de", "eur"), ("pm_boleto", "brl"), ("pm_oxxo", "mxn")])
def test_a_session_is_complete_before_it_is_paid(
    running: Emulator, method: tuple[str, str], outcome: str, payment_status: str, event: str
) -> None:
    """A session paid by a delayed method is complete and unpaid, and a second event says how it ended."""
    client = running.client()
    session = submitted(running, *method)
    assert (session.status, session.payment_status) == ("complete", "unpaid")
    assert running.act(f"/payments/{session.id}", outcome=outcome)[0] == 200
    ended = client.v1.checkout.sessions.retrieve(session.id)
    assert (ended.status, ended.payment_status) == ("complete", payment_status)
    assert types_about(client, session.id) == ["checkout.session.completed", event]
    with pytest.raises(stripe.InvalidRequestError, match="created by Checkout"):
        client.v1.payment_intents.cancel(str(session.payment_intent))


def test_an_intent_takes_only_its_own_kinds(client: stripe.StripeClient) -> None:
    """Kinds that do not fit the currency are left out, and a method of another kind is refused."""
    euros = confirmed(client, "pm_card_visa")
    assert euros.payment_method_types == ["card", "sepa_debit"]
    for method, currency in (("pm_usBankAccount_success", "eur"), ("pm_success_de", "usd")):
        with pytest.raises(stripe.InvalidRequestError, match="is not allowed") as refused:
            confirmed(client, method, currency)
        assert refused.value.param == "payment_method"
    with pytest.raises(stripe.InvalidRequestError, match="is not allowed"):
        client.v1.payment_intents.create(
            {"amount": 2500, "currency": "eur", "payment_method": "pm_success_de", "confirm": True}
        )


THREE_DAYS = 3 * 86_400


@pytest.mark.parametrize(("kind", "currency"), [("boleto", "brl"), ("oxxo", "mxn"), ("konbini", "jpy")])
def test_a_voucher_waits_to_be_paid(
    running: Emulator, client: stripe.StripeClient, kind: str, currency: str
) -> None:
    """A voucher shows its number and its end, is on its way once paid, and then a payment like any other."""
    began = int(time.time())
    intent = confirmed(client, f"pm_{kind}", currency)
    ended = int(time.time())
    assert (intent.status, intent.latest_charge) == ("requires_action", None)
    step = intent.to_dict()["next_action"]
    shown = step[f"{kind}_display_details"]
    assert step["type"] == f"{kind}_display_details"
    assert began <= shown.get("expires_at", shown.get("expires_after")) - THREE_DAYS <= ended
    assert running.act(f"/payment_intents/{intent.id}/authenticate", outcome="succeeded")[0] == 400
    assert running.act(f"/payments/{intent.id}", outcome="processing")[1]["status"] == "processing"
    assert running.act(f"/payments/{intent.id}", outcome="succeeded")[1]["amount_received"] == 2500
    assert types_about(client, intent.id) == [
        "payment_intent.created",
        "payment_intent.requires_action",
        "payment_intent.processing",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]


def test_a_voucher_expires(running: Emulator, client: stripe.StripeClient) -> None:
    """A voucher that nobody pays fails with Stripe's code for it, and the intent takes another method."""
    began = int(time.time())
    intent = confirmed(client, "pm_oxxo", "mxn")
    ended = int(time.time())
    (waiting,) = [entry for entry in running.call("GET", "/_emulator/pending")[1] if entry["id"] == intent.id]
    assert waiting["outcome"] == "expired"
    assert began <= waiting["due_at"] - THREE_DAYS <= ended
    assert running.act(f"/payments/{intent.id}", outcome="expired")[0] == 200
    expired = client.v1.payment_intents.retrieve(intent.id)
    assert expired.last_payment_error is not None
    assert (expired.status, expired.last_payment_error.code) == (
        "requires_payment_method",
        "payment_intent_payment_attempt_expired",
    )
    assert types_about(client, intent.id)[-1] == "payment_intent.payment_failed"


def test_a_voucher_that_is_superseded_is_not_paid(running: Emulator, client: stripe.StripeClient) -> None:
    """Paid by card, given another method, or cancelled, an intent awaits its voucher no longer."""
    paid = confirmed(client, "pm_boleto", "brl")
    client.v1.payment_intents.confirm(paid.id, {"payment_method": "pm_card_visa"})
    changed = confirmed(client, "pm_boleto", "brl")
    client.v1.payment_intents.update(changed.id, {"payment_method": "pm_card_visa"})
    cancelled = confirmed(client, "pm_boleto", "brl")
    client.v1.payment_intents.cancel(cancelled.id)
    for intent in (paid, changed, cancelled):
        assert running.act(f"/payments/{intent.id}", outcome="succeeded")[0] == 400
    waiting = {entry["id"] for entry in running.call("GET", "/_emulator/pending")[1]}
    assert waiting.isdisjoint({paid.id, changed.id, cancelled.id})


def test_the_refund_of_a_voucher_asks_for_an_account(running: Emulator, client: stripe.StripeClient) -> None:
    """It requires action until the buyer names an account, is pending then; until then it can be cancelled."""
    intent = confirmed(client, "pm_konbini", "jpy")
    running.act(f"/payments/{intent.id}", outcome="succeeded")
    ask: Any = {"payment_intent": intent.id, "amount": 1000, "instructions_email": "ada@example.com"}
    first, second = (client.v1.refunds.create(ask) for _ in range(2))
    assert (first.status, first.instructions_email) == ("requires_action", "ada@example.com")
    assert first.next_action is not None
    assert first.next_action.display_details is not None
    assert running.act(f"/refunds/{first.id}", outcome="pending")[1]["status"] == "pending"
    assert running.act(f"/refunds/{first.id}", outcome="succeeded")[1]["status"] == "succeeded"
    cancelled = client.v1.refunds.cancel(second.id)
    assert (cancelled.status, cancelled.failure_reason) == ("canceled", "merchant_request")
    charge = client.v1.payment_intents.retrieve(intent.id).latest_charge
    assert client.v1.charges.retrieve(str(charge)).amount_refunded == 1000
    oxxo = confirmed(client, "pm_oxxo", "mxn")
    running.act(f"/payments/{oxxo.id}", outcome="succeeded")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": oxxo.id})
    assert refused.value.code == "charge_not_refundable"


def test_the_voucher_has_a_page(running: Emulator, client: stripe.StripeClient) -> None:
    """Its page says what is to be paid, and pays it."""
    step: Any = confirmed(client, "pm_boleto", "brl").next_action
    url = str(step.boleto_display_details.hosted_voucher_url)
    assert "25.00 BRL" in running.session.get(url, timeout=20).text
    assert "been paid" in running.session.post(url, data={"outcome": "succeeded"}, timeout=20).text
    assert running.session.get(url, timeout=20).status_code == 404
