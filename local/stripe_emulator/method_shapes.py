"""Payment methods as Stripe's API shows them, by themselves and in the charges they paid."""

from typing import Any

from local.stripe_emulator.bank_debits import BankDebit
from local.stripe_emulator.cards import TestCard
from local.stripe_emulator.methods import TestMethod

type Json = dict[str, Any]


def payment_method(method_id: str, method: TestMethod, *, created: int, billing: Json) -> Json:
    """A test method as a payment method, https://docs.stripe.com/api/payment_methods/object."""
    return {
        "id": method_id,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": billing,
        "created": created,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "radar_options": {},
        "type": method.type,
        method.type: _details(method),
    }


def method_of_charge(method: Json, *, amount: int, authenticated: bool) -> Json:
    """`payment_method_details` of a charge of `amount` that a payment method pays."""
    kind: str = method["type"]
    details: Json = method[kind]
    if kind == "card":
        details = _charged_card(details, amount, authenticated=authenticated)
    elif kind == "sepa_debit":
        details = {name: details[name] for name in details if name != "generated_from"}
        details["mandate"] = f"mandate_{method['id'][-24:]}"
    elif kind == "us_bank_account":
        kept = ("account_holder_type", "account_type", "bank_name", "fingerprint", "last4", "routing_number")
        details = {name: details[name] for name in kept}
        details |= {"mandate": f"mandate_{method['id'][-24:]}", "payment_reference": None}
    elif kind == "oxxo":
        details = {"number": None}
    elif kind == "konbini":
        details = {"store": {"chain": "familymart"}}
    return {"type": kind, kind: details}


def _details(method: TestMethod) -> Json:
    if isinstance(method, TestCard):
        return _card(method)
    if isinstance(method, BankDebit):
        return _account(method)
    return {"tax_id": "00000000000000"} if method.type == "boleto" else {}


def _account(debit: BankDebit) -> Json:
    fingerprint = f"fingerprint{debit.last4}"
    if debit.type == "sepa_debit":
        return {
            "bank_code": "19043",
            "branch_code": "",
            "country": debit.country,
            "fingerprint": fingerprint,
            "generated_from": {"charge": None, "setup_attempt": None},
            "last4": debit.last4,
        }
    return {
        "account_holder_type": "individual",
        "account_type": "checking",
        "bank_name": "STRIPE TEST BANK",
        "financial_connections_account": None,
        "fingerprint": fingerprint,
        "last4": debit.last4,
        "networks": {"preferred": "ach", "supported": ["ach"]},
        "routing_number": "110000000",
        "status_details": {},
    }


def _card(card: TestCard) -> Json:
    return {
        "brand": card.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "display_brand": card.brand,
        "exp_month": 12,
        "exp_year": 2034,
        "fingerprint": f"fingerprint{card.last4}",
        "funding": card.funding,
        "generated_from": None,
        "last4": card.last4,
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def _charged_card(card: Json, amount: int, *, authenticated: bool) -> Json:
    return {
        "amount_authorized": amount,
        "authorization_code": None,
        "brand": card["brand"],
        "checks": card["checks"],
        "country": card["country"],
        "exp_month": card["exp_month"],
        "exp_year": card["exp_year"],
        "extended_authorization": {"status": "disabled"},
        "fingerprint": card["fingerprint"],
        "funding": card["funding"],
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "last4": card["last4"],
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": card["brand"],
        "network_token": {"used": False},
        "network_transaction_id": None,
        "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
        "regulated_status": card["regulated_status"],
        "three_d_secure": _three_d_secure() if authenticated else None,
        "transaction_link_id": None,
        "wallet": None,
    }


def _three_d_secure() -> Json:
    return {
        "authentication_flow": "challenge",
        "electronic_commerce_indicator": "05",
        "exemption_indicator": None,
        "result": "authenticated",
        "result_reason": None,
        "transaction_id": None,
        "version": "2.2.0",
    }
