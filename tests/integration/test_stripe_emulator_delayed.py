"""Payments whose money comes later, or not: bank debits and vouchers, by intent and by hosted session."""

from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from tests.emulator_process import Emulator, emulator, eventually

_TYPES = ["card", "sepa_debit", "us_bank_account", "boleto", "oxxo", "konbini"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulator(tmp_path_factory.mktemp("stripe")) as started:
        yield started


@pytest.fixture
def running(shared: Emulator) -> Emulator:
    """The emulator, where nothing ends before a test says so."""
    shared.faults(settle_s=3600)
    return shared


@pytest.fixture
def client(running: Emulator) -> stripe.StripeClient:
    return running.client()


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
@pytest.mark.parametrize("method", [("pm_success_de", "eur")])
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
