"""Stripe's events: made up, and signed as Stripe signs them."""

import hashlib
import hmac
import json
import time
from typing import Any
from uuid import uuid4

import stripe

WEBHOOK_SECRET = "whsec_of_the_tests"


def signature(payload: bytes, *, secret: str = WEBHOOK_SECRET, at: float | None = None) -> str:
    """The `Stripe-Signature` of these bytes."""
    stamp = int(time.time() if at is None else at)
    mac = hmac.new(secret.encode(), f"{stamp}.".encode() + payload, hashlib.sha256)
    return f"t={stamp},v1={mac.hexdigest()}"


def event_of(event_type: str, stripe_object: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An event about the object, in the API version that this code was written for."""
    return {
        "id": f"evt_{uuid4().hex}",
        "object": "event",
        "api_version": stripe.api_version,
        "created": int(time.time()),
        "livemode": False,
        "type": event_type,
        "data": {"object": stripe_object},
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        **more,
    }


def intent(intent_id: str, amount: int, status: str, **more: Any) -> dict[str, Any]:
    """A payment intent as an event carries it."""
    return {
        "id": intent_id,
        "object": "payment_intent",
        "amount": amount,
        "amount_received": amount if status == "succeeded" else 0,
        "client_secret": f"{intent_id}_secret_never_stored",
        "currency": "eur",
        "livemode": False,
        "metadata": {},
        "status": status,
        **more,
    }


def checkout_session(
    session_id: str, amount: int, status: str, payment_status: str, **more: Any
) -> dict[str, Any]:
    """A checkout session as an event carries it."""
    return {
        "id": session_id,
        "object": "checkout.session",
        "amount_total": amount,
        "currency": "eur",
        "livemode": False,
        "metadata": {},
        "payment_intent": None,
        "payment_status": payment_status,
        "status": status,
        **more,
    }


def encoded(event: object) -> bytes:
    """The event's bytes."""
    return json.dumps(event, indent=2).encode()
