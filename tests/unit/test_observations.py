"""What Stripe's refunds, disputes and slow payments say, read from their objects."""

from typing import Any
from uuid import uuid4

import pytest

from stripe_gateway.observations import observe, observe_dispute, observe_refund

REFUND: dict[str, Any] = {
    "id": "re_1",
    "object": "refund",
    "amount": 1500,
    "currency": "eur",
    "payment_intent": "pi_1",
    "metadata": {},
    "status": "succeeded",
}
DISPUTE: dict[str, Any] = {
    "id": "du_1",
    "object": "dispute",
    "amount": 4500,
    "currency": "eur",
    "payment_intent": "pi_1",
    "status": "needs_response",
    "balance_transactions": [],
}


def moved(*amounts: int, currency: str = "eur") -> dict[str, Any]:
    """The dispute with balance transactions of these amounts."""
    return DISPUTE | {
        "balance_transactions": [{"amount": amount, "currency": currency} for amount in amounts]
    }


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("pending", "pending"),
        ("requires_action", "pending"),
        ("succeeded", "succeeded"),
        ("failed", "failed"),
        ("canceled", "canceled"),
        ("a_word_of_next_year", "pending"),
        (None, "pending"),
    ],
)
def test_a_refund_that_waits_for_anything_is_pending(said: str | None, read: str) -> None:
    """Only Stripe's final words are final."""
    assert observe_refund(REFUND | {"status": said}).status == read


def test_a_refund_carries_our_id_if_it_is_one() -> None:
    """Metadata is anybody's to write."""
    ours = str(uuid4())
    assert observe_refund(REFUND | {"metadata": {"holdfast_refund_id": ours}}).refund_id == ours
    assert observe_refund(REFUND | {"metadata": {"holdfast_refund_id": "no uuid"}}).refund_id is None
    assert observe_refund(REFUND | {"metadata": None}).refund_id is None


@pytest.mark.parametrize(
    ("dispute", "event", "withdrawn", "reinstated"),
    [
        (moved(), "charge.dispute.created", 0, 0),
        (moved(-4500), "charge.dispute.created", 4500, 0),
        (moved(-4500, 4500), "charge.dispute.closed", 4500, 4500),
        (moved(-4500, 1000), "charge.dispute.closed", 4500, 1000),
        (moved(-4870, currency="usd"), "charge.dispute.created", 4500, 0),
        (moved(-4870, 4870, currency="usd"), "charge.dispute.closed", 4500, 4500),
        (moved(), "charge.dispute.funds_withdrawn", 4500, 0),
        (moved(), "charge.dispute.funds_reinstated", 0, 4500),
        (DISPUTE | {"balance_transactions": None}, "charge.dispute.created", 0, 0),
    ],
)
def test_what_a_dispute_took_and_gave_back_is_in_its_balance_transactions(
    dispute: dict[str, Any], event: str, withdrawn: int, reinstated: int
) -> None:
    """In the payment's currency; where the account has another, or none are there, it is the disputed amount."""
    seen = observe_dispute(dispute, event_type=event)
    assert (seen.withdrawn_amount, seen.reinstated_amount) == (withdrawn, reinstated)


@pytest.mark.parametrize(
    ("status", "action", "awaited"),
    [
        ("processing", None, True),
        ("requires_action", "boleto_display_details", True),
        ("requires_action", "konbini_display_details", True),
        ("requires_action", "multibanco_display_details", True),
        ("requires_action", "oxxo_display_details", True),
        ("requires_action", "display_bank_transfer_instructions", True),
        ("requires_action", "verify_with_microdeposits", True),
        ("requires_action", "use_stripe_sdk", False),
        ("requires_action", "redirect_to_url", False),
        ("requires_action", "pix_display_qr_code", False),
        ("requires_action", None, False),
        ("requires_payment_method", None, False),
        ("canceled", "boleto_display_details", False),
    ],
)
def test_funds_are_awaited_where_the_buyer_has_days(status: str, action: str | None, awaited: bool) -> None:
    """A debit, a voucher or a transfer; not a page or a code that is over in minutes."""
    intent = {"object": "payment_intent", "id": "pi_1", "status": status, "metadata": {}}
    seen = observe(intent | {"next_action": {"type": action} if action else None})
    assert seen.awaits_funds is awaited
