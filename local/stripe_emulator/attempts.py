"""Attempts to pay an intent: the card is charged, is declined, or waits for 3-D Secure.

https://docs.stripe.com/payments/paymentintents/lifecycle
"""

from typing import Any

from local.stripe_emulator.account import Account, Answer, Call
from local.stripe_emulator.cards import CARDS, Decline, test_card_name
from local.stripe_emulator.disputes import open_dispute
from local.stripe_emulator.errors import error_object, no_such, refused
from local.stripe_emulator.events import emit
from local.stripe_emulator.identifiers import new_id
from local.stripe_emulator.search import index_intent
from local.stripe_emulator.shapes import billing_details, charge, payment_method
from local.stripe_emulator.storage import Stored

type Json = dict[str, Any]


def attach(call: Call, stored: Stored, token: str, *, email: str | None = None) -> None:
    """Use a test card, or a payment method that came of one, for the next attempt."""
    known = call.storage.find("payment_method", token)
    if known is not None:
        stored.private["method"] = known.private["method"]
        stored.body["payment_method"] = token
        return
    name = test_card_name(token)
    card = CARDS[name]
    method = payment_method(
        new_id("pm"), card, created=call.account.now(), billing=billing_details(email=email)
    )
    call.storage.insert(Stored(method, {"method": name}))
    stored.private["method"] = name
    stored.body["payment_method"] = method["id"]


def attempt(call: Call, stored: Stored, *, return_url: str | None, authenticated: bool = False) -> Answer:
    """Charge the attached card: succeeds, is declined (402), or waits for the buyer's authentication."""
    intent = stored.body
    card = CARDS[stored.private["method"]]
    intent |= {"next_action": None, "last_payment_error": None}
    if card.requires_authentication and not authenticated:
        intent["status"] = "requires_action"
        intent["next_action"] = _authentication_step(call.account, intent["id"], return_url)
        stored.private["return_url"] = return_url
        save(call.account, stored)
        emit(call, "payment_intent.requires_action", intent)
        return Answer(intent)
    if card.decline is not None:
        return _decline(call, stored, card.decline, authenticated=authenticated)
    paid = _charge(call, stored, _outcome_of_success(), authenticated=authenticated)
    intent |= {
        "status": "succeeded",
        "amount_received": intent["amount"],
        "latest_charge": paid["id"],
    }
    kept = Stored(paid, {"method": stored.private["method"]})
    call.storage.insert(kept)
    save(call.account, stored)
    emit(call, "charge.succeeded", paid)
    if card.dispute is not None:
        open_dispute(call, kept, reason=card.dispute.reason, inquiry=card.dispute.inquiry)
    emit(call, "payment_intent.succeeded", intent)
    return Answer(intent)


def authenticate(call: Call, stored: Stored, *, succeeded: bool) -> Answer:
    """End the 3-D Secure step of an intent that waits for it."""
    intent = stored.body
    if intent["status"] != "requires_action":
        raise refused(
            f"This PaymentIntent has a status of {intent['status']}: nothing waits for authentication.",
            code="payment_intent_unexpected_state",
        )
    if succeeded:
        return attempt(call, stored, return_url=None, authenticated=True)
    method = _method_of(call, stored)
    error = error_object(
        "invalid_request_error",
        "The provided PaymentMethod has failed authentication. Provide another one, or try to confirm again.",
        code="payment_intent_authentication_failure",
    )
    return _fail(call, stored, error | {"payment_method": method}, status=200)


def _decline(call: Call, stored: Stored, decline: Decline, *, authenticated: bool) -> Answer:
    failed = _charge(call, stored, _outcome_of_decline(decline), authenticated=authenticated)
    failed |= {
        "status": "failed",
        "paid": False,
        "captured": False,
        "amount_captured": 0,
        "failure_code": decline.code,
        "failure_message": decline.message,
    }
    error = error_object("card_error", decline.message, code=decline.code, param=decline.param)
    error |= {"charge": failed["id"], "decline_code": decline.decline_code}
    if decline.advice is not None:
        error["advice_code"] = decline.advice
    error["payment_method"] = _method_of(call, stored)
    stored.body["latest_charge"] = failed["id"]
    call.storage.insert(Stored(failed))
    emit(call, "charge.failed", failed)
    return _fail(call, stored, error, status=402)


def _fail(call: Call, stored: Stored, error: Json, *, status: int) -> Answer:
    """The attempt is over, the intent waits for another payment method."""
    intent = stored.body
    intent |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "next_action": None,
        "last_payment_error": error,
    }
    stored.private["method"] = None
    save(call.account, stored)
    emit(call, "payment_intent.payment_failed", intent)
    return Answer(intent if status == 200 else {"error": error | {"payment_intent": intent}}, status)


def _charge(call: Call, stored: Stored, outcome: Json, *, authenticated: bool) -> Json:
    return charge(
        new_id("ch"),
        intent=stored.body,
        method=_method_of(call, stored),
        created=call.account.now(),
        outcome=outcome,
        authenticated=authenticated,
    )


def _method_of(call: Call, stored: Stored) -> Json:
    method = call.storage.find("payment_method", stored.body["payment_method"])
    if method is None:
        raise no_such("PaymentMethod", str(stored.body["payment_method"]), param="payment_method", status=400)
    return method.body


def save(account: Account, stored: Stored) -> None:
    """Write an intent's present state, and let the search index see it in its time."""
    account.storage.update(stored)
    index_intent(account, stored.body)


def _authentication_step(account: Account, intent_id: str, return_url: str | None) -> Json:
    page = f"{account.public_url}/authenticate/{intent_id}"
    if return_url is None:
        return {
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": page},
        }
    return {"type": "redirect_to_url", "redirect_to_url": {"url": page, "return_url": return_url}}


def _outcome(**differences: object) -> Json:
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "approved_by_network",
        "reason": None,
        "risk_level": "normal",
        "risk_score": 20,
        "seller_message": "Payment complete.",
        "type": "authorized",
    } | differences


def _outcome_of_success() -> Json:
    return _outcome()


def _outcome_of_decline(decline: Decline) -> Json:
    return _outcome(
        advice_code=decline.advice,
        network_status="declined_by_network",
        reason=decline.decline_code,
        seller_message=decline.seller_message,
        type="issuer_declined",
    )
