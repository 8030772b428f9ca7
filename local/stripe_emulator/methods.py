"""Every test payment method by its id, and which of them a payment takes."""

from local.stripe_emulator.bank_debits import BANK_DEBITS, BankDebit
from local.stripe_emulator.cards import ALIASES, CARDS, TestCard
from local.stripe_emulator.errors import invalid_parameter, no_such
from local.stripe_emulator.vouchers import VOUCHERS, Voucher

type TestMethod = TestCard | BankDebit | Voucher

METHODS: dict[str, TestMethod] = {**CARDS, **BANK_DEBITS, **VOUCHERS}


def test_method_name(token: str) -> str:
    """The canonical name of a test payment method id.

    Raises StripeError for an id that is none.
    """
    name = ALIASES.get(token, token)
    if name in METHODS:
        return name
    if token.startswith("pm_"):
        raise no_such("PaymentMethod", token, param="payment_method", status=400)
    raise invalid_parameter(
        f"Invalid payment_method '{token}': the emulator takes Stripe's test payment methods, pm_...",
        param="payment_method",
    )
