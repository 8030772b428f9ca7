"""Which payment methods an intent or a session takes, as the caller's API version lets it say so."""

from typing import Any

from local.stripe_emulator.errors import invalid_parameter

type Json = dict[str, Any]

# https://docs.stripe.com/changelog/endive/2026-09-30: no longer a parameter; `allowed_payment_method_types` is.
_WITHOUT_TYPES_SINCE = "2026-09-30"

# What this account can be paid with, and in which currency alone where there is but one.
OFFERED: dict[str, str | None] = {
    "card": None,
    "sepa_debit": "eur",
    "us_bank_account": "usd",
    "boleto": "brl",
    "oxxo": "mxn",
    "konbini": "jpy",
}

# What it is paid with where the caller does not say: what is turned on in the dashboard.
_TURNED_ON = ["card"]

_EXCLUSIVE = ("allowed_payment_method_types", "automatic_payment_methods", "payment_method_types")

# `payment_method_options` of an intent, and what a session's differ in.
_INTENT_OPTIONS: dict[str, Json] = {
    "card": {
        "installments": None,
        "mandate_options": None,
        "network": None,
        "request_three_d_secure": "automatic",
    },
    "sepa_debit": {},
    "us_bank_account": {"verification_method": "automatic"},
    "boleto": {"expires_after_days": 3},
    "oxxo": {"expires_after_days": 3},
    "konbini": {
        "confirmation_number": None,
        "expires_after_days": None,
        "expires_at": None,
        "product_description": None,
    },
}
_SESSION_OPTIONS: dict[str, Json] = _INTENT_OPTIONS | {
    "card": {"request_three_d_secure": "automatic"},
    "konbini": {"expires_after_days": None},
}


def refuse_removed_parameters(names: set[str], version: str | None) -> None:
    """Raise Stripe's error for `payment_method_types` in a version that has it no more.

    A request that names no version is taken as one of an account that still has an older one.
    """
    if "payment_method_types" in names and version is not None and version >= _WITHOUT_TYPES_SINCE:
        raise invalid_parameter(
            "The payment_method_types parameter is no longer supported in this API version. "
            "Use allowed_payment_method_types instead.",
            code="payment_method_types_no_longer_supported",
            param="payment_method_types",
        )


def choose_method_types(target: Json, parameters: Json) -> None:
    """Write into an intent or a session the methods that it takes, and their options.

    Raises StripeError for parameters that exclude each other, and where no method is left.
    """
    given = [name for name in _EXCLUSIVE if name in parameters]
    if len(given) > 1:
        raise invalid_parameter(
            f"You may only specify one of these parameters: {', '.join(given)}.", code="parameters_exclusive"
        )
    fitting = [name for name, only in OFFERED.items() if only in (None, target["currency"])]
    if "allowed_payment_method_types" in parameters:
        allowed = parameters["allowed_payment_method_types"]
        # Stripe leaves out what does not fit, without a word, as long as something does.
        types = [name for name in fitting if name in allowed]
        target["allowed_payment_method_types"] = allowed
        if not types:
            raise invalid_parameter(
                "None of the allowed payment method types can be used for this payment.",
                param="allowed_payment_method_types",
            )
    elif "payment_method_types" in parameters:
        types = parameters["payment_method_types"]
        for name in types:
            if name not in fitting:
                raise invalid_parameter(
                    f"The payment method type provided: {name} cannot be used with {target['currency']}.",
                    param="payment_method_types",
                )
    else:
        types = list(_TURNED_ON)
        if "automatic_payment_methods" in target:
            automatic = parameters.get("automatic_payment_methods", {"enabled": True})
            target["automatic_payment_methods"] = {"allow_redirects": "always"} | automatic
    options = _INTENT_OPTIONS if target["object"] == "payment_intent" else _SESSION_OPTIONS
    target["payment_method_types"] = types
    target["payment_method_options"] = {name: options[name] for name in types}
