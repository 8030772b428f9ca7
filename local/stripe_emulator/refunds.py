"""Refunds, never more than was captured: https://docs.stripe.com/refunds."""

from typing import Any

from domain.currencies import format_amount
from local.stripe_emulator.account import Answer, Call
from local.stripe_emulator.errors import invalid_parameter, missing_parameter, no_such, refused
from local.stripe_emulator.events import emit
from local.stripe_emulator.identifiers import new_id
from local.stripe_emulator.parameters import merged_metadata
from local.stripe_emulator.shapes import refund
from local.stripe_emulator.storage import Stored

type Json = dict[str, Any]


def load(call: Call, refund_id: str) -> Stored:
    """The refund; StripeError if there is none."""
    stored = call.storage.find("refund", refund_id)
    if stored is None:
        raise no_such("refund", refund_id, param="id")
    return stored


def create(call: Call, parameters: Json) -> Answer:
    """Refund a charge, or the charge of an intent, in whole or in part."""
    paid = _charge_to_refund(call, parameters)
    charge = paid.body
    left = charge["amount_captured"] - charge["amount_refunded"]
    if left == 0:
        raise refused(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    amount = parameters.get("amount", left)
    if amount > left:
        raise refused(
            f"Refund amount ({format_amount(amount, charge['currency'])}) is greater than unrefunded amount "
            f"on charge ({format_amount(left, charge['currency'])})",
            param="amount",
        )
    body = refund(
        new_id("re"),
        paid=charge,
        amount=amount,
        created=call.account.now(),
        reason=parameters.get("reason"),
        metadata=merged_metadata({}, parameters.get("metadata")),
    )
    call.storage.insert(Stored(body))
    previous = {"amount_refunded": charge["amount_refunded"]}
    charge["amount_refunded"] += amount
    if charge["amount_refunded"] == charge["amount_captured"]:
        previous["refunded"] = False
        charge["refunded"] = True
    call.storage.update(paid)
    emit(call, "refund.created", body)
    emit(call, "charge.refunded", charge, previous=previous)
    answer = dict(body)
    _tell_reference(call, body)
    return Answer(answer)


def _tell_reference(call: Call, body: Json) -> None:
    """The network's reference arrives after the refund was answered, as an update of it."""
    card = body["destination_details"]["card"]
    reference = {"reference": body["id"][-12:], "reference_status": "available"}
    previous = {"destination_details": {"card": {name: card.get(name) for name in reference}}}
    body["destination_details"] = {"card": card | reference, "type": "card"}
    call.storage.update(Stored(body))
    emit(call, "refund.updated", body, previous=previous)


def update(call: Call, stored: Stored, parameters: Json) -> Answer:
    """Change a refund's metadata, the only thing that may be changed."""
    body = stored.body
    previous = {"metadata": body["metadata"]}
    body["metadata"] = merged_metadata(body["metadata"], parameters.get("metadata", {}))
    call.storage.update(stored)
    emit(call, "refund.updated", body, previous=previous)
    return Answer(body)


def _charge_to_refund(call: Call, parameters: Json) -> Stored:
    intent_id, charge_id = parameters.get("payment_intent"), parameters.get("charge")
    if intent_id is None and charge_id is None:
        raise missing_parameter("payment_intent")
    if intent_id is not None and charge_id is not None:
        raise invalid_parameter(
            "You may only specify one of these parameters: charge, payment_intent.",
            code="parameters_exclusive",
        )
    if intent_id is not None:
        intent = call.storage.find("payment_intent", intent_id)
        if intent is None:
            raise no_such("payment_intent", intent_id, param="payment_intent", status=400)
        charge_id = intent.body["latest_charge"] if intent.body["status"] == "succeeded" else None
        if charge_id is None:
            raise refused(f"This PaymentIntent ({intent_id}) does not have a successful charge to refund.")
    paid = call.storage.find("charge", str(charge_id))
    if paid is None:
        raise no_such("charge", str(charge_id), param="charge", status=400)
    if paid.body["status"] != "succeeded":
        raise refused(f"Charge {charge_id} has not succeeded.", code="charge_not_refundable")
    return paid
