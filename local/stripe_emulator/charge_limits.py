"""Which amounts Stripe charges: https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts."""

from domain.currencies import UnknownCurrency, currency, format_amount
from local.stripe_emulator.errors import invalid_parameter


def check_amount(amount: int, code: str, *, param: str = "amount") -> None:
    """Raise Stripe's error for a currency that it does not take, or an amount that it does not charge."""
    try:
        limits = currency(code)
    except UnknownCurrency:
        raise invalid_parameter(f"Invalid currency: {code}", param="currency") from None
    if amount < limits.minimum_amount:
        message = f"Amount must be at least {format_amount(limits.minimum_amount, code)}"
        raise invalid_parameter(message, code="amount_too_small", param=param)
    if amount > limits.maximum_amount:
        message = f"Amount must be no more than {format_amount(limits.maximum_amount, code)}"
        raise invalid_parameter(message, code="amount_too_large", param=param)
    if amount % limits.step:
        message = f"Invalid amount: in {code} it must be a multiple of {limits.step}"
        raise invalid_parameter(message, code="parameter_invalid_integer", param=param)
