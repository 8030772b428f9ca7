"""Refunds that take their time, fail, or are made by a person in the dashboard."""

from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.emulator_process import Emulator, emulator, eventually


def paid(client: stripe.StripeClient, card: str = "pm_card_visa") -> stripe.PaymentIntent:
    return client.v1.payment_intents.create(
        {"amount": 2500, "currency": "eur", "payment_method": card, "confirm": True}
    )


def events_about(client: stripe.StripeClient, object_id: str) -> list[tuple[str, Any, Any]]:
    """Type, the object and its previous attributes of each event about it, oldest first."""
    listed = client.v1.events.list({"limit": 100}).auto_paging_iter()
    return [
        (event.type, event.data.object, event.to_dict()["data"].get("previous_attributes"))
        for event in listed
        if event.data.object["id"] == object_id
    ][::-1]


def refunded_amount(client: stripe.StripeClient, intent: stripe.PaymentIntent) -> tuple[int, bool]:
    charge = client.v1.charges.retrieve(str(intent.latest_charge))
    return charge.amount_refunded, charge.refunded


def test_a_refund_is_pending_until_the_bank_has_it(running: Emulator, client: stripe.StripeClient) -> None:
    """A pending refund counts as refunded from the start, and becomes succeeded with refund.updated."""
    intent = paid(client, "pm_card_pendingRefund")
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    assert (refund.status, refund.pending_reason) == ("pending", "processing")
    assert refunded_amount(client, intent) == (2500, True)
    assert running.act(f"/refunds/{refund.id}", outcome="succeeded")[0] == 200
    assert client.v1.refunds.retrieve(refund.id).status == "succeeded"
    told = events_about(client, refund.id)
    assert [kind for kind, _, _ in told] == ["refund.created", "refund.updated", "charge.refund.updated"]
    assert told[1][2] == {"pending_reason": "processing", "status": "pending"}
    assert running.act(f"/refunds/{refund.id}", outcome="succeeded")[0] == 400


def test_a_refund_that_succeeded_can_fail(running: Emulator, client: stripe.StripeClient) -> None:
    """A failed refund says why and where its money went, and its amount can be refunded once more."""
    intent = paid(client, "pm_card_refundFail")
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    assert refund.status == "succeeded"
    assert running.act(f"/refunds/{refund.id}", outcome="failed")[0] == 200
    failed = client.v1.refunds.retrieve(refund.id, {"expand": ["failure_balance_transaction"]})
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    back = failed.failure_balance_transaction
    assert isinstance(back, stripe.BalanceTransaction)
    assert (back.amount, back.type, back.source) == (2500, "refund_failure", refund.id)
    assert [kind for kind, _, _ in events_about(client, refund.id)] == [
        "refund.created",
        "refund.updated",
        "charge.refund.updated",
        "refund.failed",
    ]
    kind, _, previous = events_about(client, str(intent.latest_charge))[-1]
    assert (kind, previous) == ("charge.updated", {"amount_refunded": 2500, "refunded": True})
    assert refunded_amount(client, intent) == (0, False)
    assert client.v1.refunds.create({"payment_intent": intent.id, "amount": 2500}).amount == 2500


@pytest.mark.parametrize(
    ("card", "status"), [("pm_card_pendingRefund", "succeeded"), ("pm_card_refundFail", "failed")]
)
def test_refunds_end_by_themselves(
    running: Emulator, client: stripe.StripeClient, card: str, status: str
) -> None:
    """Once settle_s have passed a test card's refund ends as Stripe documents it."""
    refund = client.v1.refunds.create({"payment_intent": paid(client, card).id})
    pending = running.call("GET", "/_emulator/pending")[1]
    assert [entry["outcome"] for entry in pending if entry["id"] == refund.id] == [status]
    running.faults(settle_s=0)
    eventually(lambda: client.v1.refunds.retrieve(refund.id).status == status)


def test_what_is_pending_survives_a_kill(tmp_path: Path) -> None:
    """Killed while a refund is pending and started again, the emulator ends it in its time."""
    with emulator(tmp_path) as first:
        first.faults(settle_s=3600)
        intent = paid(first.client(), "pm_card_pendingRefund")
        refund = first.client().v1.refunds.create({"payment_intent": intent.id})
        first.kill()
    with emulator(tmp_path) as second:
        assert second.client().v1.refunds.retrieve(refund.id).status == "pending"
        assert second.act("/pending") == (200, {"settled": 1})
        assert second.client().v1.refunds.retrieve(refund.id).status == "succeeded"


def test_only_a_refund_that_waits_for_the_customer_is_cancelled(client: stripe.StripeClient) -> None:
    """Cancelling a refund that is done, or with the bank, is refused."""
    for card in ("pm_card_visa", "pm_card_pendingRefund"):
        refund = client.v1.refunds.create({"payment_intent": paid(client, card).id})
        with pytest.raises(stripe.InvalidRequestError, match="unsupported"):
            client.v1.refunds.cancel(refund.id)


def test_a_person_refunds_in_the_dashboard(running: Emulator, client: stripe.StripeClient) -> None:
    """A refund made by hand has no metadata, is told like any other, and counts against what is left."""
    intent = paid(client)
    status, refund = running.act("/refunds", payment_intent=intent.id, amount=1000)
    assert (status, refund["metadata"], refund["amount"]) == (200, {}, 1000)
    status, rest = running.act("/refunds", charge=intent.latest_charge, reason="fraudulent")
    assert (status, rest["amount"]) == (200, 1500)
    assert refunded_amount(client, intent) == (2500, True)
    told = events_about(client, str(intent.latest_charge))
    assert [(kind, charge["amount_refunded"]) for kind, charge, _ in told[1:]] == [
        ("charge.refunded", 1000),
        ("charge.refunded", 2500),
    ]
    status, refusal = running.act("/refunds", payment_intent=intent.id)
    assert (status, refusal["error"]["code"]) == (400, "charge_already_refunded")


@pytest.mark.parametrize("given", [{}, {"amount": 5}, {"charge": "ch_none"}, {"payment_intent": 3, "x": 1}])
def test_a_wrong_act_is_refused(running: Emulator, given: dict[str, object]) -> None:
    """What names no charge, or has an unknown field, is 400 with a reason."""
    status, body = running.act("/refunds", **given)
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")


def test_every_control_is_listed(running: Emulator) -> None:
    """GET /_emulator names each control, what it does, and what it takes."""
    listed = running.call("GET", "/_emulator")[1]
    assert {"GET /_emulator/faults", "PUT /_emulator/faults", "POST /_emulator/refunds/{id}"} <= {
        f"{entry['method']} {entry['path']}" for entry in listed
    }
    assert all(entry["does"] for entry in listed)
    (refunds,) = [entry for entry in listed if entry["path"] == "/_emulator/refunds/{id}"]
    assert refunds["required"] == ["outcome"]
