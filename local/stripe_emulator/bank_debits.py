"""Stripe's test accounts for debits, where the bank says only later whether it pays.

https://docs.stripe.com/payments/sepa-debit/accept-a-payment, https://docs.stripe.com/payments/ach-direct-debit
"""

from dataclasses import dataclass
from typing import Literal

from local.stripe_emulator.cards import Disputed

# What Stripe's delayed test accounts take at least.
_SLOW_S = 180

_COUNTRIES = ("AT", "DE")


@dataclass(frozen=True)
class Refusal:
    """Why a debit fails or a voucher is not paid: Stripe's code, and a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True)
class BankDebit:
    """A test account, and what becomes of a debit of it.

    `outcome` is a refusal, or else whether it ever ends by itself; `wait_s` is how long that takes, None where
    the fault script says.
    """

    label: str
    type: Literal["sepa_debit", "us_bank_account"]
    last4: str
    country: str
    outcome: Literal["succeeds", "waits"] | Refusal = "succeeds"
    wait_s: int | None = None
    refund: Literal["pending"] = "pending"
    dispute: Disputed | None = None


_NOT_AUTHORIZED = Disputed("debit_not_authorized")
_FAILED = Refusal("payment_method_provider_decline", "The bank could not process the debit.")
_INSUFFICIENT = Refusal("insufficient_funds", "The customer's account has insufficient funds.")


def _sepa(country: str) -> dict[str, BankDebit]:
    def account(
        what: str,
        last4: str,
        outcome: Literal["succeeds"] | Refusal = "succeeds",
        wait_s: int | None = None,
        dispute: Disputed | None = None,
    ) -> BankDebit:
        label = f"SEPA debit {country}, {what}"
        return BankDebit(label, "sepa_debit", last4, country, outcome, wait_s, dispute=dispute)

    accounts = {
        "success": account("succeeds", "3201"),
        "successDelayed": account("succeeds after three minutes", "3204", wait_s=_SLOW_S),
        "failed": account("fails", "3202", _FAILED),
        "failedDelayed": account("fails after three minutes", "3205", _FAILED, _SLOW_S),
        "insufficientFunds": account("fails: insufficient funds", "3206", _INSUFFICIENT),
        "disputed": account("succeeds and is disputed", "3203", dispute=_NOT_AUTHORIZED),
    }
    return {f"pm_{name}_{country.lower()}": debit for name, debit in accounts.items()}


def _ach(
    what: str,
    last4: str,
    outcome: Literal["succeeds", "waits"] | Refusal = "succeeds",
    dispute: Disputed | None = None,
) -> BankDebit:
    return BankDebit(f"ACH debit, {what}", "us_bank_account", last4, "US", outcome, dispute=dispute)


_CLOSED = Refusal("account_closed", "The customer's bank account has been closed.")
_NO_ACCOUNT = Refusal("no_account", "The customer's bank account could not be located.")
_UNAUTHORIZED = Refusal(
    "debit_not_authorized", "The customer told their bank that the debit was not authorized."
)

BANK_DEBITS: dict[str, BankDebit] = {
    **{name: debit for country in _COUNTRIES for name, debit in _sepa(country).items()},
    "pm_usBankAccount_success": _ach("succeeds", "6789"),
    "pm_usBankAccount_processing": _ach("stays processing", "0009", "waits"),
    "pm_usBankAccount_accountClosed": _ach("fails: account closed", "1113", _CLOSED),
    "pm_usBankAccount_noAccount": _ach("fails: no account", "1116", _NO_ACCOUNT),
    "pm_usBankAccount_insufficientFunds": _ach("fails: insufficient funds", "2227", _INSUFFICIENT),
    "pm_usBankAccount_debitNotAuthorized": _ach("fails: not authorized", "3335", _UNAUTHORIZED),
    "pm_usBankAccount_dispute": _ach("succeeds and is disputed", "5559", dispute=_NOT_AUTHORIZED),
}
