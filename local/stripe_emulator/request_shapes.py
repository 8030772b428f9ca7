"""What the endpoints that create or change something take, each parameter as Stripe describes it."""

from collections.abc import Mapping

from local.stripe_emulator.dispute_shapes import EVIDENCE
from local.stripe_emulator.method_types import OFFERED
from local.stripe_emulator.parameters import (
    EXPAND,
    METADATA,
    Choice,
    Flag,
    Group,
    Parameter,
    Sequence,
    Text,
    Whole,
)

_TYPES = Sequence(Choice(tuple(OFFERED)))
_CAPTURE = Choice(("automatic", "automatic_async"))
_ADDRESS = Group(
    {name: Text(clears=True) for name in ("city", "country", "line1", "line2", "postal_code", "state")}
)
_SHIPPING = Group(
    {"address": _ADDRESS, "name": Text(), "carrier": Text(), "phone": Text(), "tracking_number": Text()},
    required=("address", "name"),
)
_DESCRIBING: Mapping[str, Parameter] = {
    "description": Text(1000, clears=True),
    "receipt_email": Text(clears=True),
    "statement_descriptor": Text(22, clears=True),
    "statement_descriptor_suffix": Text(22, clears=True),
}
_ALLOWED_TYPES: Mapping[str, Parameter] = {
    "allowed_payment_method_types": Sequence(Text(50)),
    "payment_method_types": _TYPES,
}
_INTENT: Mapping[str, Parameter] = {
    **EXPAND,
    **_DESCRIBING,
    **_ALLOWED_TYPES,
    "capture_method": _CAPTURE,
    "metadata": METADATA,
    "payment_method": Text(),
    "setup_future_usage": Choice(("off_session", "on_session")),
    "shipping": _SHIPPING,
    "transfer_group": Text(clears=True),
}
_AMOUNT = Whole(1)
_CURRENCY = Text(3)

CREATE_INTENT = Group(
    {
        **_INTENT,
        "amount": _AMOUNT,
        "currency": _CURRENCY,
        "automatic_payment_methods": Group(
            {"enabled": Flag(), "allow_redirects": Choice(("always", "never"))}, required=("enabled",)
        ),
        "confirm": Flag(),
        "confirmation_method": Choice(("automatic",)),
        "return_url": Text(),
        "use_stripe_sdk": Flag(),
    },
    required=("amount", "currency"),
)
UPDATE_INTENT = Group({**_INTENT, "amount": _AMOUNT, "currency": _CURRENCY})
CONFIRM_INTENT = Group(
    {
        **EXPAND,
        "client_secret": Text(),
        "payment_method": Text(),
        "receipt_email": Text(clears=True),
        "return_url": Text(),
        "setup_future_usage": Choice(("off_session", "on_session")),
        "shipping": _SHIPPING,
        "use_stripe_sdk": Flag(),
    }
)
CREATE_SESSION = Group(
    {
        **EXPAND,
        **_ALLOWED_TYPES,
        "cancel_url": Text(),
        "client_reference_id": Text(200),
        "customer_email": Text(800),
        "expires_at": Whole(0),
        "line_items": Sequence(
            Group(
                {
                    "price_data": Group(
                        {
                            "currency": _CURRENCY,
                            "product_data": Group({"name": Text(), "description": Text(40_000)}, ("name",)),
                            "tax_behavior": Choice(("exclusive", "inclusive", "unspecified")),
                            "unit_amount": Whole(0),
                        },
                        required=("currency", "product_data", "unit_amount"),
                    ),
                    "quantity": Whole(1, 999_999),
                },
                required=("price_data", "quantity"),
            )
        ),
        "locale": Choice(("auto", "de", "en", "en-GB", "es", "fr", "it", "ja", "nl", "pl", "pt", "sv")),
        "metadata": METADATA,
        "mode": Choice(("payment",)),
        "payment_intent_data": Group({**_DESCRIBING, "metadata": METADATA}),
        "submit_type": Choice(("auto", "book", "donate", "pay")),
        "success_url": Text(),
        "ui_mode": Choice(("hosted_page",)),
    },
    required=("mode", "line_items", "success_url"),
)
CREATE_REFUND = Group(
    {
        **EXPAND,
        "amount": _AMOUNT,
        "charge": Text(),
        "instructions_email": Text(),
        "metadata": METADATA,
        "payment_intent": Text(),
        "reason": Choice(("duplicate", "fraudulent", "requested_by_customer")),
    }
)
UPDATE_DISPUTE = Group(
    {
        **EXPAND,
        "evidence": Group({name: Text(20_000, clears=True) for name in EVIDENCE}),
        "metadata": METADATA,
        "submit": Flag(),
    }
)
