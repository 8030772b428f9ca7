"""Payment intents: created, changed, confirmed and cancelled.

https://docs.stripe.com/payments/paymentintents/lifecycle
"""

from typing import Any

from local.stripe_emulator import delayed
from local.stripe_emulator.account import Answer, Call
from local.stripe_emulator.attempts import attach, attempt
from local.stripe_emulator.charge_limits import check_amount
from local.stripe_emulator.charging import save
from local.stripe_emulator.errors import StripeError, invalid_parameter, no_such, refused
from local.stripe_emulator.events import emit
from local.stripe_emulator.identifiers import client_secret, new_id
from local.stripe_emulator.method_types import choose_method_types
from local.stripe_emulator.parameters import merged_metadata
from local.stripe_emulator.search import index_intent
from local.stripe_emulator.shapes import payment_intent
from local.stripe_emulator.storage import Stored

type Json = dict[str, Any]

OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELABLE = (
    "requires_payment_method",
    "requires_capture",
    "requires_confirmation",
    "requires_action",
    "processing",
)
_WHILE_OPEN = (
    "amount",
    "currency",
    "payment_method",
    "payment_method_types",
    "allowed_payment_method_types",
)
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
        raise _missing_method()
    stored = new_intent(call, amount=parameters["amount"], currency=parameters["currency"].lower())
    intent = stored.body
    for name in _COPIED:
        intent[name] = parameters.get(name)
    intent["metadata"] = merged_metadata({}, parameters.get("metadata"))
    intent["shipping"] = parameters.get("shipping")
    intent["capture_method"] = parameters.get("capture_method", intent["capture_method"])
    choose_method_types(intent, parameters)
    if "payment_method" in parameters:
        attach(call, stored, parameters["payment_method"])
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
    for name in _WHILE_OPEN:
        if name in parameters and (intent["status"] not in OPEN or stored.private["session"]):
            raise refused(
                f"This PaymentIntent's {name} could not be updated because it has a status of "
                f"{intent['status']}. You may only update the {name} of a PaymentIntent with one of the "
                f"following statuses: {', '.join(OPEN)}.",
                code="payment_intent_unexpected_state",
                payment_intent=intent,
            )
    currency = parameters.get("currency", intent["currency"]).lower()
    check_amount(parameters.get("amount", intent["amount"]), currency)
    intent["amount"] = parameters.get("amount", intent["amount"])
    intent["currency"] = currency
    for name in (*_COPIED, "shipping", "capture_method"):
        if name in parameters:
            intent[name] = parameters[name]
    if "allowed_payment_method_types" in parameters or "payment_method_types" in parameters:
        intent["automatic_payment_methods"] = None
        choose_method_types(intent, parameters)
    if "metadata" in parameters:
        intent["metadata"] = merged_metadata(intent["metadata"], parameters["metadata"])
    if "payment_method" in parameters:
        attach(call, stored, parameters["payment_method"])
        intent["status"] = "requires_confirmation"
    save(call.account, stored)
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
        attach(call, stored, parameters["payment_method"])
    elif intent["payment_method"] is None:
        raise _missing_method(payment_intent=intent)
    return attempt(call, stored, return_url=parameters.get("return_url"))


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
            "Only a PaymentIntent with one of the following statuses may be canceled: "
            f"{', '.join(CANCELABLE)}.",
            code="payment_intent_unexpected_state",
            payment_intent=intent,
        )
    delayed.stop(call, stored)
    intent |= {
        "status": "canceled",
        "canceled_at": call.account.now(),
        "cancellation_reason": reason,
        "next_action": None,
    }
    save(call.account, stored)
    emit(call, "payment_intent.canceled", intent)
    return intent


def _refuse_if_owned_by_checkout(stored: Stored) -> None:
    if stored.private["session"]:
        raise refused(
            "You cannot perform this action on PaymentIntents created by Checkout. "
            "Expire the Checkout Session instead.",
            payment_intent=stored.body,
        )


def _missing_method(**embedded: Json) -> StripeError:
    error = refused(
        "You cannot confirm this PaymentIntent because it's missing a payment method. Update the "
        "PaymentIntent with a payment method, or give one when you confirm.",
        code="payment_intent_unexpected_state",
    )
    error.error |= embedded
    return error
