"""Stripe's objects, read as what they say about a payment."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from domain.payment import Observation

# Our ids in the metadata of everything that we make at Stripe. The prefix keeps them apart from those of other
# programs that share the account.
PAYMENT_ID = "holdfast_payment_id"
RESERVATION_ID = "holdfast_reservation_id"
REQUEST_ID = "holdfast_request_id"
REFUND_ID = "holdfast_refund_id"


def observe(
    stripe_object: Mapping[str, Any], *, seen_at: datetime | None = None, account: str | None = None
) -> Observation:
    """What a payment intent or a checkout session says. `seen_at` is the moment it was true, by default now.

    What is absent or of another type reads as an amount of -1 or an empty word, which fits no payment of ours.
    """
    read = _observe_session if stripe_object.get("object") == "checkout.session" else _observe_intent
    return read(stripe_object, seen_at or datetime.now(UTC), account)


def _observe_intent(intent: Mapping[str, Any], seen_at: datetime, account: str | None) -> Observation:
    status = _text(intent, "status") or ""
    return Observation(
        payment_intent_id=_text(intent, "id"),
        checkout_session_id=None,
        payment_id=_our_id(intent),
        amount=_amount(intent, "amount"),
        currency=_text(intent, "currency") or "",
        captured_amount=_amount(intent, "amount_received") if status == "succeeded" else 0,
        canceled=status == "canceled",
        awaits_funds=status == "processing",
        status=status,
        seen_at=seen_at,
        livemode=bool(intent.get("livemode")),
        account=account,
    )


def _observe_session(session: Mapping[str, Any], seen_at: datetime, account: str | None) -> Observation:
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
        livemode=bool(session.get("livemode")),
        account=account,
    )


def _text(stripe_object: Mapping[str, Any], name: str) -> str | None:
    value = stripe_object.get(name)
    return value if isinstance(value, str) else None


def _amount(stripe_object: Mapping[str, Any], name: str) -> int:
    value = stripe_object.get(name)
    return value if isinstance(value, int) else -1


def _our_id(stripe_object: Mapping[str, Any]) -> str | None:
    """Our payment's id. Metadata is anybody's to write: what is no UUID is not ours."""
    metadata = cast("Mapping[str, Any] | None", stripe_object.get("metadata"))
    try:
        return str(UUID(metadata[PAYMENT_ID])) if isinstance(metadata, Mapping) else None
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
