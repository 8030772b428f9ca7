"""Disputes as the emulator's API tells of them: chargebacks, inquiries, and what becomes of them."""

import pytest
import stripe

from tests.emulator_process import Emulator, eventually


def paid(client: stripe.StripeClient, card: str = "pm_card_visa") -> stripe.PaymentIntent:
    return client.v1.payment_intents.create(
        {"amount": 2500, "currency": "eur", "payment_method": card, "confirm": True}
    )


def dispute_of(client: stripe.StripeClient, intent: stripe.PaymentIntent) -> stripe.Dispute:
    (dispute,) = client.v1.disputes.list({"payment_intent": intent.id}).data
    return dispute


def advance(running: Emulator, dispute: stripe.Dispute, outcome: str) -> int:
    return running.act(f"/disputes/{dispute.id}", outcome=outcome)[0]


def types_about(client: stripe.StripeClient, intent: stripe.PaymentIntent) -> list[str]:
    """The types of the events about an intent, its charge, its disputes and refunds, oldest first."""
    listed = client.v1.events.list({"limit": 100}).auto_paging_iter()
    about = (event for event in listed if intent.id in str(event.data.object))
    return [event.type for event in about][::-1]


def moved(dispute: stripe.Dispute) -> list[int]:
    return [movement.amount for movement in dispute.balance_transactions]


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("pm_card_createDispute", "fraudulent"),
        ("pm_card_createDisputeProductNotReceived", "product_not_received"),
    ],
)
def test_a_disputed_card_is_charged_back_at_once(client: stripe.StripeClient, card: str, reason: str) -> None:
    """The charge succeeds, its money is withdrawn with a fee, and nothing of it can be refunded."""
    intent = paid(client, card)
    dispute = dispute_of(client, intent)
    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", reason, 2500)
    assert (dispute.is_charge_refundable, moved(dispute)) == (False, [-2500])
    assert dispute.balance_transactions[0].net == -4000
    charge = client.v1.charges.retrieve(str(intent.latest_charge))
    assert (charge.disputed, charge.amount_refunded) == (True, 0)
    with pytest.raises(stripe.InvalidRequestError, match="has been charged back") as refused:
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 1})
    assert refused.value.code == "charge_disputed"
    assert types_about(client, intent) == [
        "payment_intent.created",
        "charge.succeeded",
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "payment_intent.succeeded",
    ]


def test_a_dispute_that_is_won_gives_the_money_back(running: Emulator, client: stripe.StripeClient) -> None:
    """Won: the funds are reinstated, the dispute is closed, and the charge can be refunded again."""
    intent = paid(client)
    assert running.act("/disputes", payment_intent=intent.id, reason="duplicate")[0] == 200
    dispute = dispute_of(client, intent)
    assert advance(running, dispute, "under_review") == 200
    assert advance(running, dispute, "won") == 200
    won = client.v1.disputes.retrieve(dispute.id, {"expand": ["charge"]})
    assert (won.status, won.is_charge_refundable, moved(won)) == ("won", True, [-2500, 2500])
    assert isinstance(won.charge, stripe.Charge)
    assert won.charge.disputed
    assert types_about(client, intent)[3:] == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.updated",
        "charge.dispute.funds_reinstated",
        "charge.dispute.closed",
    ]
    assert client.v1.refunds.create({"payment_intent": intent.id}).amount == 2500
    assert advance(running, dispute, "lost") == 400


def test_a_dispute_that_is_accepted_is_lost(client: stripe.StripeClient) -> None:
    """Closing a dispute loses it at once: the money stays where it went."""
    intent = paid(client, "pm_card_createDispute")
    lost = client.v1.disputes.close(dispute_of(client, intent).id)
    assert (lost.status, moved(lost)) == ("lost", [-2500])
    assert types_about(client, intent)[-1] == "charge.dispute.closed"
    with pytest.raises(stripe.InvalidRequestError, match="has been charged back"):
        client.v1.refunds.create({"payment_intent": intent.id})
    for act in (client.v1.disputes.close, client.v1.disputes.update):
        with pytest.raises(stripe.InvalidRequestError, match="already closed"):
            act(lost.id)


def test_an_inquiry_moves_no_money(running: Emulator, client: stripe.StripeClient) -> None:
    """An inquiry withdraws nothing, leaves the charge refundable, and can be closed without a dispute."""
    intent = paid(client, "pm_card_createDisputeInquiry")
    dispute = dispute_of(client, intent)
    assert (dispute.status, moved(dispute)) == ("warning_needs_response", [])
    assert client.v1.refunds.create({"payment_intent": intent.id, "amount": 500}).status == "succeeded"
    assert advance(running, dispute, "won") == 200
    closed = client.v1.disputes.retrieve(dispute.id)
    assert (closed.status, moved(closed)) == ("warning_closed", [])
    assert [kind for kind in types_about(client, intent) if "dispute" in kind] == [
        "charge.dispute.created",
        "charge.dispute.closed",
    ]
    assert advance(running, dispute, "escalate") == 400


def test_an_inquiry_escalates_and_overtakes_a_refund(running: Emulator, client: stripe.StripeClient) -> None:
    """Escalated, the same dispute takes the money, and a refund that was still pending fails for it."""
    intent = paid(client, "pm_card_pendingRefund")
    assert running.act("/disputes", payment_intent=intent.id, inquiry=True)[0] == 200
    refund = client.v1.refunds.create({"payment_intent": intent.id, "amount": 500})
    dispute = dispute_of(client, intent)
    assert advance(running, dispute, "escalate") == 200
    escalated = client.v1.disputes.retrieve(dispute.id)
    assert (escalated.status, moved(escalated)) == ("needs_response", [-2500])
    failed = client.v1.refunds.retrieve(refund.id)
    assert (failed.status, failed.failure_reason) == ("failed", "charge_for_pending_refund_disputed")
    assert client.v1.charges.retrieve(str(intent.latest_charge)).amount_refunded == 0
    told = types_about(client, intent)
    assert told[told.index("charge.dispute.updated") :] == [
        "charge.dispute.updated",
        "charge.dispute.funds_withdrawn",
        "refund.updated",
        "charge.refund.updated",
        "refund.failed",
        "charge.updated",
    ]


@pytest.mark.parametrize(
    ("card", "evidence", "status"),
    [
        ("pm_card_createDispute", "winning_evidence", "won"),
        ("pm_card_createDispute", "losing_evidence", "lost"),
        ("pm_card_createDisputeInquiry", "losing_evidence", "warning_closed"),
        ("pm_card_createDisputeInquiry", "escalate_inquiry_evidence", "needs_response"),
    ],
)
def test_evidence_decides_a_test_dispute(
    running: Emulator, client: stripe.StripeClient, card: str, evidence: str, status: str
) -> None:
    """Evidence that is submitted is under review first, and Stripe's own words in it then decide."""
    dispute = dispute_of(client, paid(client, card))
    staged = client.v1.disputes.update(dispute.id, {"evidence": {"customer_name": "Ada"}, "submit": False})
    assert (staged.status, staged.evidence_details.submission_count) == (dispute.status, 0)
    sent = client.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": evidence}})
    assert sent.status == dispute.status.replace("needs_response", "under_review")
    assert (sent.evidence.customer_name, sent.evidence_details.submission_count) == ("Ada", 1)
    running.faults(settle_s=0)
    eventually(lambda: client.v1.disputes.retrieve(dispute.id).status == status)


def test_a_charge_has_one_open_dispute_at_a_time(running: Emulator, client: stripe.StripeClient) -> None:
    """A part of a charge can be disputed; a second dispute must wait for the end of the first."""
    intent = paid(client)
    status, dispute = running.act("/disputes", charge=intent.latest_charge, amount=700)
    assert (status, dispute["amount"]) == (200, 700)
    assert running.act("/disputes", charge=intent.latest_charge)[0] == 400
    assert running.act("/disputes", charge=paid(client).latest_charge, amount=2501)[0] == 400
    assert client.v1.disputes.list({"charge": str(intent.latest_charge)}).data[0].id == dispute["id"]
    with pytest.raises(stripe.InvalidRequestError) as missing:
        client.v1.disputes.retrieve("du_none")
    assert (missing.value.http_status, missing.value.param) == (404, "dispute")
