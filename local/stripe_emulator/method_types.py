"""Which payment methods an intent or a session takes, as the caller's API version lets it say so."""

from typing import Any

from local.stripe_emulator.errors import invalid_parameter

type Json = dict[str, Any]

# https://docs.stripe.com/changelog/endive/2026-09-30: no longer a parameter; `allowed_payment_method_types` is.
_WITHOUT_TYPES_SINCE = "2026-09-30"

# What this account can be paid with.
_OFFERED = ("card",)

_EXCLUSIVE = ("allowed_payment_method_types", "automatic_payment_methods", "payment_method_types")


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
    """Write into a new intent or session the methods that it takes.

    Raises StripeError for parameters that exclude each other, and where no method is left.
    """
    given = [name for name in _EXCLUSIVE if name in parameters]
    if len(given) > 1:
        raise invalid_parameter(
            f"You may only specify one of these parameters: {', '.join(given)}.", code="parameters_exclusive"
        )
    allowed = parameters.get("allowed_payment_method_types")
    if allowed is not None:
        # Stripe leaves out what does not fit, without a word, as long as something does.
        target["payment_method_types"] = [name for name in _OFFERED if name in allowed]
        target["allowed_payment_method_types"] = allowed
        if not target["payment_method_types"]:
            raise invalid_parameter(
                "None of the allowed payment method types can be used for this payment.",
                param="allowed_payment_method_types",
            )
    elif "payment_method_types" in parameters:
        target["payment_method_types"] = parameters["payment_method_types"]
    elif "automatic_payment_methods" in target:
        automatic = parameters.get("automatic_payment_methods", {"enabled": True})
        target["automatic_payment_methods"] = {"allow_redirects": "always"} | automatic
