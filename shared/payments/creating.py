"""A payment at Stripe, made once whatever fails on the way: the row was written before, and its key is Stripe's."""

from collections.abc import Mapping, Sequence
from typing import Any

from database.connection import Context, Database
from database.payments import take_next_payment_key
from stripe_gateway.failures import StripeFailed, StripeUnanswered
from stripe_gateway.gateway import StripeGateway, StripePayment
from stripe_gateway.observations import PAYMENT_ID, REQUEST_ID, RESERVATION_ID

# Stripe forgets a key after 24 hours; from then on the same request would make a second payment.
KEY_MEMORY_SECONDS = 23 * 3600
# A session lives 30 minutes at least (https://docs.stripe.com/api/checkout/sessions/create#expires_at). Its hold is
# over long before, and ends it; the margin is for the retries of its creation.
SESSION_SECONDS = 40 * 60


def frozen_parameters(
    mode: str,
    *,
    payment_id: str,
    reservation_id: str,
    request_id: str,
    payment_method_types: Sequence[str],
    success_url: str,
    cancel_url: str,
    now: float,
) -> dict[str, Any]:
    """What Stripe is asked for beyond amount and currency. It is stored with the payment: a retry must ask the same.

    The methods are a filter, the only way to name them since API version 2026-09-30.endive
    (https://docs.stripe.com/changelog/endive/2026-09-30/removes-the-payment-method-types-parameter-from-payment-intents-and-setup-intents).
    """
    metadata = {PAYMENT_ID: payment_id, RESERVATION_ID: reservation_id, REQUEST_ID: request_id}
    if mode == "payment_intent":
        return {"allowed_payment_method_types": list(payment_method_types), "metadata": metadata}
    return {
        "mode": "payment",
        "allowed_payment_method_types": list(payment_method_types),
        "success_url": success_url,
        "cancel_url": cancel_url,
        "expires_at": int(now) + SESSION_SECONDS,
        "client_reference_id": reservation_id,
        "metadata": metadata,
        "payment_intent_data": {"metadata": metadata},
    }


def create_at_stripe(
    database: Database, gateway: StripeGateway, payment: Mapping[str, Any], context: Context
) -> StripePayment:
    """Stripe's payment for our row, whose lease the caller has.

    A key under which Stripe has stored a failure, or which it has forgotten, is not asked again blindly: what it may
    have made is looked for first. Raises `StripeUnanswered` (ask again later), `StripeRefused` (nothing was made).
    """
    mode, key = payment["mode"], payment["idempotency_key"]
    if payment["age_seconds"] < KEY_MEMORY_SECONDS:
        try:
            return gateway.create(mode, _parameters(payment), key)
        except StripeFailed:
            pass
    try:
        if found := gateway.find(mode, payment["id"], payment["created_at"]):
            return found
        key = database.run(
            lambda conn: take_next_payment_key(conn, payment["id"], payment["attempt"], context=context)
        )
        if key is None:
            raise StripeUnanswered  # the lease was lost: somebody else is asking
        return gateway.create(mode, _parameters(payment), key)
    except StripeFailed as failure:
        raise StripeUnanswered from failure


def _parameters(payment: Mapping[str, Any]) -> dict[str, Any]:
    amount, currency = payment["amount"], payment["currency"]
    if payment["mode"] == "payment_intent":
        return {**payment["parameters"], "amount": amount, "currency": currency}
    price = {"currency": currency, "unit_amount": amount, "product_data": {"name": "Reservation"}}
    return {**payment["parameters"], "line_items": [{"price_data": price, "quantity": 1}]}
