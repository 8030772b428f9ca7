"""Charges of an intent: made, succeeded or failed, and the intent that follows them."""

from typing import Any

from local.stripe_emulator.account import Account, Call
from local.stripe_emulator.disputes import open_dispute
from local.stripe_emulator.errors import no_such
from local.stripe_emulator.events import emit
from local.stripe_emulator.identifiers import new_id
from local.stripe_emulator.methods import METHODS
from local.stripe_emulator.search import index_intent
from local.stripe_emulator.shapes import charge
from local.stripe_emulator.storage import Stored

type Json = dict[str, Any]

APPROVED: Json = {
    "advice_code": None,
    "network_advice_code": None,
    "network_decline_code": None,
    "network_status": "approved_by_network",
    "reason": None,
    "risk_level": "normal",
    "risk_score": 20,
    "seller_message": "Payment complete.",
    "type": "authorized",
}


def new_charge(call: Call, intent: Stored, outcome: Json, *, authenticated: bool = False) -> Stored:
    """A charge of the whole intent with the method that is attached to it; not kept yet."""
    body = charge(
        new_id("ch"),
        intent=intent.body,
        method=method_of(call, intent),
        created=call.account.now(),
        outcome=outcome,
        authenticated=authenticated,
    )
    return Stored(body, {"method": intent.private["method"]})


def succeeded(call: Call, intent: Stored, paid: Stored) -> None:
    """The intent is paid by a charge that is kept; tell of both, and of the dispute that a test method brings."""
    intent.body |= {
        "status": "succeeded",
        "amount_received": intent.body["amount"],
        "latest_charge": paid.id,
        "next_action": None,
    }
    save(call.account, intent)
    emit(call, "charge.succeeded", paid.body)
    dispute = METHODS[paid.private["method"]].dispute
    if dispute is not None:
        open_dispute(call, paid, reason=dispute.reason, inquiry=dispute.inquiry)
    emit(call, "payment_intent.succeeded", intent.body)


def failed(call: Call, intent: Stored, error: Json) -> None:
    """The attempt is over, the intent waits for another payment method."""
    intent.body |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "next_action": None,
        "last_payment_error": error,
    }
    intent.private["method"] = None
    save(call.account, intent)
    emit(call, "payment_intent.payment_failed", intent.body)


def charge_of(call: Call, intent: Stored) -> Stored:
    """The latest charge of an intent; StripeError if it has none."""
    charge_id = str(intent.body["latest_charge"])
    stored = call.storage.find("charge", charge_id)
    if stored is None:
        raise no_such("charge", charge_id, param="latest_charge")
    return stored


def method_of(call: Call, intent: Stored) -> Json:
    """The payment method that is attached to an intent; StripeError if it is none that is known."""
    method = call.storage.find("payment_method", intent.body["payment_method"])
    if method is None:
        raise no_such("PaymentMethod", str(intent.body["payment_method"]), param="payment_method", status=400)
    return method.body


def save(account: Account, intent: Stored) -> None:
    """Write an intent's present state, and let the search index see it in its time."""
    account.storage.update(intent)
    index_intent(account, intent.body)
