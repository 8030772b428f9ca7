"""Attempts to pay an intent: the card is charged, is declined, or waits for 3-D Secure.

https://docs.stripe.com/payments/paymentintents/lifecycle
"""

from typing import Any

from local.stripe_emulator import delayed, pending
from local.stripe_emulator.account import Account, Answer, Call
from local.stripe_emulator.bank_debits import BankDebit
from local.stripe_emulator.cards import Decline
from local.stripe_emulator.charging import APPROVED, failed, method_of, new_charge, save, succeeded
from local.stripe_emulator.errors import error_object, refused
from local.stripe_emulator.events import emit
from local.stripe_emulator.identifiers import new_id
from local.stripe_emulator.method_shapes import payment_method
from local.stripe_emulator.methods import METHODS, test_method_name
from local.stripe_emulator.shapes import billing_details
from local.stripe_emulator.storage import Stored
from local.stripe_emulator.vouchers import Voucher

type Json = dict[str, Any]


def attach(call: Call, stored: Stored, token: str, *, email: str | None = None) -> None:
    """Use a test method, or a payment method that came of one, for the next attempt.

    Raises StripeError where the intent does not take its kind.
    """
    known = call.storage.find("payment_method", token)
    name = test_method_name(token) if known is None else known.private["method"]
    _refuse_other_types(stored.body, METHODS[name].type)
    if known is None:
        billing = billing_details(email=email)
        body = payment_method(new_id("pm"), METHODS[name], created=call.account.now(), billing=billing)
        known = Stored(body, {"method": name})
        call.storage.insert(known)
    stored.private["method"] = name
    stored.body |= {"payment_method": known.id, "next_action": None}
    # A voucher of another method, if there was one, is void.
    pending.end(call.storage, stored.id)


def attempt(call: Call, stored: Stored, *, return_url: str | None, authenticated: bool = False) -> Answer:
    """Try the attached method: it pays, is declined (402), waits for the buyer's authentication or the bank."""
    intent = stored.body
    method = METHODS[stored.private["method"]]
    intent |= {"next_action": None, "last_payment_error": None}
    if isinstance(method, BankDebit):
        return delayed.debit(call, stored, method)
    if isinstance(method, Voucher):
        return delayed.issue(call, stored, method)
    if method.requires_authentication and not authenticated:
        intent["status"] = "requires_action"
        intent["next_action"] = _authentication_step(call.account, intent["id"], return_url)
        stored.private["return_url"] = return_url
        save(call.account, stored)
        emit(call, "payment_intent.requires_action", intent)
        return Answer(intent)
    if method.decline is not None:
        return _decline(call, stored, method.decline, authenticated=authenticated)
    paid = new_charge(call, stored, APPROVED, authenticated=authenticated)
    call.storage.insert(paid)
    succeeded(call, stored, paid)
    return Answer(intent)


def waits_for_authentication(intent: Json) -> bool:
    """Whether the intent waits for the buyer to end a 3-D Secure step."""
    step = intent["next_action"]
    return step is not None and step["type"] in ("redirect_to_url", "use_stripe_sdk")


def authenticate(call: Call, stored: Stored, *, succeeded: bool) -> Answer:
    """End the 3-D Secure step of an intent that waits for it."""
    intent = stored.body
    if not waits_for_authentication(intent):
        raise refused(
            f"This PaymentIntent has a status of {intent['status']}: nothing waits for authentication.",
            code="payment_intent_unexpected_state",
        )
    if succeeded:
        return attempt(call, stored, return_url=None, authenticated=True)
    error = error_object(
        "invalid_request_error",
        "The provided PaymentMethod has failed authentication. Provide another one, or try to confirm again.",
        code="payment_intent_authentication_failure",
    )
    failed(call, stored, error | {"payment_method": method_of(call, stored)})
    return Answer(intent)


def _refuse_other_types(intent: Json, kind: str) -> None:
    taken: list[str] = intent["payment_method_types"]
    if kind not in taken:
        raise refused(
            f"The PaymentMethod provided ({kind}) is not allowed for this PaymentIntent. Please attach a "
            f"PaymentMethod of one of the following types: {', '.join(taken)}.",
            code="payment_intent_incompatible_payment_method",
            param="payment_method",
        )


def _decline(call: Call, stored: Stored, decline: Decline, *, authenticated: bool) -> Answer:
    made = new_charge(call, stored, _outcome_of_decline(decline), authenticated=authenticated)
    made.body |= {
        "status": "failed",
        "paid": False,
        "captured": False,
        "amount_captured": 0,
        "failure_code": decline.code,
        "failure_message": decline.message,
    }
    error = error_object("card_error", decline.message, code=decline.code, param=decline.param)
    error |= {"charge": made.id, "decline_code": decline.decline_code}
    if decline.advice is not None:
        error["advice_code"] = decline.advice
    error["payment_method"] = method_of(call, stored)
    stored.body["latest_charge"] = made.id
    call.storage.insert(made)
    emit(call, "charge.failed", made.body)
    failed(call, stored, error)
    return Answer({"error": error | {"payment_intent": stored.body}}, 402)


def _authentication_step(account: Account, intent_id: str, return_url: str | None) -> Json:
    page = f"{account.public_url}/authenticate/{intent_id}"
    if return_url is None:
        return {
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": page},
        }
    return {"type": "redirect_to_url", "redirect_to_url": {"url": page, "return_url": return_url}}


def _outcome_of_decline(decline: Decline) -> Json:
    return APPROVED | {
        "advice_code": decline.advice,
        "network_status": "declined_by_network",
        "reason": decline.decline_code,
        "seller_message": decline.seller_message,
        "type": "issuer_declined",
    }
