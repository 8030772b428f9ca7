"""Stripe's objects, read as what they say about a payment, a refund or a dispute."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from domain.ledger import PROGRESS, DisputeSeen, RefundSeen
from domain.payment import Observation

# Our ids in the metadata of everything that we make at Stripe. The prefix keeps them apart from those of other
# programs that share the account.
PAYMENT_ID = "holdfast_payment_id"
RESERVATION_ID = "holdfast_reservation_id"
REQUEST_ID = "holdfast_request_id"
REFUND_ID = "holdfast_refund_id"

DAYS_LATER = frozenset(
    [f"{method}_display_details" for method in ("boleto", "konbini", "multibanco", "oxxo")]
    + ["display_bank_transfer_instructions", "verify_with_microdeposits"]
)


def observe(stripe_object: Mapping[str, Any], *, seen_at: datetime | None = None) -> Observation:
    """What a payment intent or a checkout session says. `seen_at` is the moment it was true, by default now.

    What is absent or of another type reads as an amount of -1 or an empty word, which fits no payment of ours.
    """
    read = _observe_session if stripe_object.get("object") == "checkout.session" else _observe_intent
    return read(stripe_object, seen_at or datetime.now(UTC))


def _observe_intent(intent: Mapping[str, Any], seen_at: datetime) -> Observation:
    status = _text(intent, "status") or ""
    return Observation(
        payment_intent_id=_text(intent, "id"),
        checkout_session_id=None,
        payment_id=_our_id(intent),
        amount=_amount(intent, "amount"),
        currency=_text(intent, "currency") or "",
        captured_amount=_amount(intent, "amount_received") if status == "succeeded" else 0,
        canceled=status == "canceled",
        awaits_funds=status == "processing" or _takes_days(intent),
        status=status,
        seen_at=seen_at,
    )


def _takes_days(intent: Mapping[str, Any]) -> bool:
    """Whether the buyer has been shown how to pay later, and the intent waits for it.

    Boleto, Konbini, Multibanco and OXXO vouchers, bank transfers, and micro-deposits that come before a debit: days
    (https://docs.stripe.com/payments/vouchers, https://docs.stripe.com/payments/bank-transfers/accept-a-payment,
    https://docs.stripe.com/payments/ach-direct-debit). Codes to scan and redirects are over in minutes or hours.
    """
    action = intent.get("next_action")
    if intent.get("status") != "requires_action" or not isinstance(action, Mapping):
        return False
    return cast("Mapping[str, Any]", action).get("type") in DAYS_LATER


def _observe_session(session: Mapping[str, Any], seen_at: datetime) -> Observation:
    intent = cast("Mapping[str, Any] | str | None", session.get("payment_intent"))
    status, paid = _text(session, "status") or "", session.get("payment_status") == "paid"
    return Observation(
        payment_intent_id=_text(intent, "id")
        if isinstance(intent, Mapping)
        else _text(session, "payment_intent"),
        checkout_session_id=_text(session, "id"),
        payment_id=_our_id(session),
        amount=_amount(session, "amount_total"),
        currency=_text(session, "currency") or "",
        captured_amount=_amount(session, "amount_total") if paid else 0,
        canceled=status == "expired",
        awaits_funds=status == "complete" and not paid,
        status=status,
        seen_at=seen_at,
    )


def observe_refund(refund: Mapping[str, Any]) -> RefundSeen:
    """What a refund says. One that waits for its customer (`requires_action`) is pending, and so is a word that is new."""
    status = _text(refund, "status")
    return RefundSeen(
        stripe_refund_id=_text(refund, "id") or "",
        payment_intent_id=_text(refund, "payment_intent"),
        refund_id=_our_id(refund, REFUND_ID),
        amount=_amount(refund, "amount"),
        currency=_text(refund, "currency") or "",
        status=status if status in PROGRESS else "pending",
    )


def observe_dispute(
    dispute: Mapping[str, Any], *, seen_at: datetime | None = None, event_type: str = ""
) -> DisputeSeen:
    """What a dispute says, and what its event is about.

    What was taken and given back stands in its balance transactions, in the currency of the account; where that is
    another one, and where they are not there, it is the disputed amount
    (https://docs.stripe.com/api/disputes/object#dispute_object-balance_transactions).
    """
    withdrawn, reinstated = _moved(dispute)
    amount = _amount(dispute, "amount")
    return DisputeSeen(
        stripe_dispute_id=_text(dispute, "id") or "",
        payment_intent_id=_text(dispute, "payment_intent"),
        status=_text(dispute, "status") or "",
        amount=amount,
        currency=_text(dispute, "currency") or "",
        withdrawn_amount=withdrawn or (amount if event_type.endswith("funds_withdrawn") else 0),
        reinstated_amount=reinstated or (amount if event_type.endswith("funds_reinstated") else 0),
        seen_at=seen_at or datetime.now(UTC),
    )


def _moved(dispute: Mapping[str, Any]) -> tuple[int, int]:
    """What the balance transactions of a dispute took, and what they gave back."""
    listed = dispute.get("balance_transactions")
    taken, given = 0, 0
    moves = cast("list[Mapping[str, Any]]", listed if isinstance(listed, list) else [])
    for move in moves:
        moved = _amount(move, "amount")
        size = abs(moved) if move.get("currency") == dispute.get("currency") else _amount(dispute, "amount")
        if moved < 0:
            taken += size
        else:
            given += size
    return taken, given


def request_id_in(stripe_object: Mapping[str, Any]) -> str | None:
    """The request id of the call of ours that the object follows from; None where it does not say."""
    metadata = stripe_object.get("metadata")
    return _text(cast("Mapping[str, Any]", metadata), REQUEST_ID) if isinstance(metadata, Mapping) else None


def reservation_id_in(stripe_object: Mapping[str, Any]) -> str | None:
    """Our id of the hold that the object was made for; None where it does not say."""
    return _our_id(stripe_object, RESERVATION_ID)


def _text(stripe_object: Mapping[str, Any], name: str) -> str | None:
    value = stripe_object.get(name)
    return value if isinstance(value, str) else None


def _amount(stripe_object: Mapping[str, Any], name: str) -> int:
    value = stripe_object.get(name)
    return value if isinstance(value, int) else -1


def _our_id(stripe_object: Mapping[str, Any], name: str = PAYMENT_ID) -> str | None:
    """Our id. Metadata is anybody's to write: what is no UUID is not ours."""
    metadata = cast("Mapping[str, Any] | None", stripe_object.get("metadata"))
    try:
        return str(UUID(metadata[name])) if isinstance(metadata, Mapping) else None
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
