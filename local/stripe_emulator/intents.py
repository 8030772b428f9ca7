"""Payment intents: every transition, the charges that they make, and the events that tell of it.

https://docs.stripe.com/payments/paymentintents/lifecycle
"""

from typing import Any

from local.stripe_emulator.account import Account, Answer, Call
from local.stripe_emulator.cards import CARDS, Decline, TestCard, test_card_name
from local.stripe_emulator.charge_limits import check_amount
from local.stripe_emulator.errors import StripeError, error_object, invalid_parameter, no_such, refused
from local.stripe_emulator.events import emit
from local.stripe_emulator.identifiers import client_secret, new_id
from local.stripe_emulator.parameters import merged_metadata
from local.stripe_emulator.search import index_intent
from local.stripe_emulator.shapes import billing_details, charge, payment_intent, payment_method
from local.stripe_emulator.storage import Stored

type Json = dict[str, Any]

OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELABLE = ("requires_payment_method", "requires_capture", "requires_confirmation", "requires_action", "processing")
_COPIED = (
    "description",
    "receipt_email",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
    "setup_future_usage",
)


def load(call: Call, intent_id: str, *, secret: str | None = None) -> Stored:
    """The intent; StripeError if there is none, or if a publishable key comes without its client secret."""
    stored = call.storage.find("payment_intent", intent_id)
    if stored is None or (call.publishable and secret is None):
        raise no_such("payment_intent", intent_id, param="intent")
    if secret is not None and secret != stored.body["client_secret"]:
        raise invalid_parameter(
            "The client_secret provided does not match the client_secret associated with the PaymentIntent.",
            code="payment_intent_invalid_parameter",
            param="client_secret",
        )
    return stored


def create(call: Call, parameters: Json) -> Answer:
    """A new intent; confirmed at once with `confirm`."""
    check_amount(parameters["amount"], parameters["currency"].lower())
    if parameters.get("confirm") and "payment_method" not in parameters:
        raise _missing_method({})
    stored = new_intent(call, amount=parameters["amount"], currency=parameters["currency"].lower())
    intent = stored.body
    for name in _COPIED:
        intent[name] = parameters.get(name)
    intent["metadata"] = merged_metadata({}, parameters.get("metadata"))
    intent["shipping"] = parameters.get("shipping")
    intent["capture_method"] = parameters.get("capture_method", intent["capture_method"])
    if "payment_method_types" not in parameters:
        automatic = parameters.get("automatic_payment_methods", {"enabled": True})
        intent["automatic_payment_methods"] = {"allow_redirects": "always"} | automatic
    if "payment_method" in parameters:
        _attach(call, stored, parameters["payment_method"])
        intent["status"] = "requires_confirmation"
    announce(call, stored)
    if parameters.get("confirm"):
        return attempt(call, stored, return_url=parameters.get("return_url"))
    return Answer(intent)


def new_intent(call: Call, *, amount: int, currency: str, session_id: str | None = None) -> Stored:
    """An intent as it begins, not kept yet. `session_id` is the checkout session's that owns it."""
    intent_id = new_id("pi")
    body = payment_intent(
        intent_id,
        amount=amount,
        currency=currency,
        created=call.account.now(),
        client_secret=client_secret(intent_id),
    )
    return Stored(body, {"session": session_id})


def announce(call: Call, stored: Stored) -> None:
    """Keep a new intent and tell of it."""
    call.storage.insert(stored)
    index_intent(call.account, stored.body)
    emit(call, "payment_intent.created", stored.body)


def update(call: Call, stored: Stored, parameters: Json) -> Answer:
    """Change what may still be changed."""
    intent = stored.body
    for name in ("amount", "currency", "payment_method", "payment_method_types"):
        if name in parameters and (intent["status"] not in OPEN or stored.private["session"]):
            raise refused(
                f"This PaymentIntent's {name} could not be updated because it has a status of {intent['status']}. "
                f"You may only update the {name} of a PaymentIntent with one of the following statuses: "
                f"{', '.join(OPEN)}.",
                code="payment_intent_unexpected_state",
                payment_intent=intent,
            )
    currency = parameters.get("currency", intent["currency"]).lower()
    check_amount(parameters.get("amount", intent["amount"]), currency)
    intent["amount"] = parameters.get("amount", intent["amount"])
    intent["currency"] = currency
    for name in (*_COPIED, "shipping", "payment_method_types", "capture_method"):
        if name in parameters:
            intent[name] = parameters[name]
    if "metadata" in parameters:
        intent["metadata"] = merged_metadata(intent["metadata"], parameters["metadata"])
    if "payment_method" in parameters:
        _attach(call, stored, parameters["payment_method"])
        intent["status"] = "requires_confirmation"
    _save(call.account, stored)
    return Answer(intent)


def confirm(call: Call, stored: Stored, parameters: Json) -> Answer:
    """Try to pay; the answer to a declined card is 402 and a changed intent."""
    intent = stored.body
    _refuse_if_owned_by_checkout(stored)
    if intent["status"] not in OPEN:
        reason = (
            "it has already succeeded after being previously confirmed"
            if intent["status"] == "succeeded"
            else f"it has a status of {intent['status']}"
        )
        raise refused(
            f"You cannot confirm this PaymentIntent because {reason}.",
            code="payment_intent_unexpected_state",
            payment_intent=intent,
        )
    for name in (*_COPIED, "shipping"):
        if name in parameters:
            intent[name] = parameters[name]
    if "payment_method" in parameters:
        _attach(call, stored, parameters["payment_method"])
    elif intent["payment_method"] is None:
        raise _missing_method(intent)
    return attempt(call, stored, return_url=parameters.get("return_url"))


def pay_for_session(call: Call, stored: Stored, token: str, *, email: str | None) -> Answer:
    """An attempt that the buyer makes on the checkout page: `confirm` is not for these intents."""
    _attach(call, stored, token, email=email)
    return attempt(call, stored, return_url=None)


def cancel(call: Call, stored: Stored, reason: str | None) -> Answer:
    """Cancel; StripeError once it is final, or if a checkout session owns it."""
    _refuse_if_owned_by_checkout(stored)
    return Answer(_cancel(call, stored, reason))


def cancel_with_session(call: Call, stored: Stored) -> None:
    """Cancel the intent of a session that expires, if it is still open."""
    if stored.body["status"] in CANCELABLE:
        _cancel(call, stored, "expired")


def _cancel(call: Call, stored: Stored, reason: str | None) -> Json:
    intent = stored.body
    if intent["status"] not in CANCELABLE:
        raise refused(
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. "
            f"Only a PaymentIntent with one of the following statuses may be canceled: {', '.join(CANCELABLE)}.",
            code="payment_intent_unexpected_state",
            payment_intent=intent,
        )
    intent |= {
        "status": "canceled",
        "canceled_at": call.account.now(),
        "cancellation_reason": reason,
        "next_action": None,
    }
    _save(call.account, stored)
    emit(call, "payment_intent.canceled", intent)
    return intent


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
        "The provided PaymentMethod has failed authentication. "
        "Provide another one, or try to confirm again.",
        code="payment_intent_authentication_failure",
    )
    return _fail(call, stored, error | {"payment_method": method}, status=200)


def attempt(call: Call, stored: Stored, *, return_url: str | None, authenticated: bool = False) -> Answer:
    """Charge the attached card: succeeds, is declined (402), or waits for the buyer's authentication."""
    intent = stored.body
    card = CARDS[stored.private["card"]]
    intent |= {"next_action": None, "last_payment_error": None}
    if card.requires_authentication and not authenticated:
        intent["status"] = "requires_action"
        intent["next_action"] = _authentication_step(call.account, intent["id"], return_url)
        stored.private["return_url"] = return_url
        _save(call.account, stored)
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
    call.storage.insert(Stored(paid))
    _save(call.account, stored)
    emit(call, "charge.succeeded", paid)
    emit(call, "payment_intent.succeeded", intent)
    return Answer(intent)


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
    stored.private["card"] = None
    _save(call.account, stored)
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


def _attach(call: Call, stored: Stored, token: str, *, email: str | None = None) -> None:
    """Use a test card, or a payment method that came of one, for the next attempt."""
    known = call.storage.find("payment_method", token)
    if known is not None:
        stored.private["card"] = known.private["card"]
        stored.body["payment_method"] = token
        return
    name = test_card_name(token)
    card: TestCard = CARDS[name]
    method = payment_method(
        new_id("pm"), card, created=call.account.now(), billing=billing_details(email=email)
    )
    call.storage.insert(Stored(method, {"card": name}))
    stored.private["card"] = name
    stored.body["payment_method"] = method["id"]


def _method_of(call: Call, stored: Stored) -> Json:
    method = call.storage.find("payment_method", stored.body["payment_method"])
    if method is None:
        raise no_such("PaymentMethod", str(stored.body["payment_method"]), param="payment_method", status=400)
    return method.body


def _save(account: Account, stored: Stored) -> None:
    account.storage.update(stored)
    index_intent(account, stored.body)


def _refuse_if_owned_by_checkout(stored: Stored) -> None:
    if stored.private["session"]:
        raise refused(
            "You cannot perform this action on PaymentIntents created by Checkout. "
            "Expire the Checkout Session instead.",
            payment_intent=stored.body,
        )


def _missing_method(intent: Json) -> StripeError:
    embedded = {"payment_intent": intent} if intent else {}
    return refused(
        "You cannot confirm this PaymentIntent because it's missing a payment method. Update the PaymentIntent "
        "with a payment method, or give one when you confirm.",
        code="payment_intent_unexpected_state" if intent else "parameter_missing",
        **embedded,
    )


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
