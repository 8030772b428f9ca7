"""Refunds, never more than was captured: https://docs.stripe.com/refunds.

One is done at once, or pending for a while; one that looked done can fail days later. What failed or was
cancelled counts as refunded no more. A charge that was charged back is not refunded.
"""

from typing import Any

from domain.currencies import format_amount
from local.stripe_emulator import balance, pending
from local.stripe_emulator.account import Answer, Call
from local.stripe_emulator.errors import StripeError, invalid_parameter, no_such, refused
from local.stripe_emulator.events import emit
from local.stripe_emulator.identifiers import new_id
from local.stripe_emulator.methods import METHODS
from local.stripe_emulator.parameters import merged_metadata
from local.stripe_emulator.refund_shapes import ask_for_account, refund
from local.stripe_emulator.storage import Stored

type Json = dict[str, Any]

_WAITING = ("pending", "requires_action")

# What a refund can be before it becomes this.
_BEFORE = {
    "pending": ("requires_action",),
    "succeeded": _WAITING,
    "canceled": _WAITING,
    "failed": (*_WAITING, "succeeded"),
}

# Who is asked for an account where the payment names nobody.
_BUYER = "buyer@example.com"


def load(call: Call, refund_id: str) -> Stored:
    """The refund; StripeError if there is none."""
    stored = call.storage.find("refund", refund_id)
    if stored is None:
        raise no_such("refund", refund_id, param="id")
    return stored


def create(call: Call, parameters: Json) -> Answer:
    """Refund a charge, or the charge of an intent, in whole or in part."""
    paid = charge_named(call, parameters)
    charge = paid.body
    amount = _refundable(paid, parameters)
    behaviour = METHODS[paid.private["method"]].refund
    if behaviour == "impossible":
        raise refused(f"Charge {charge['id']} cannot be refunded.", code="charge_not_refundable")
    body = refund(
        new_id("re"),
        paid=charge,
        amount=amount,
        created=call.account.now(),
        reason=parameters.get("reason"),
        metadata=merged_metadata({}, parameters.get("metadata")),
        status={"pending": "pending", "asks": "requires_action"}.get(behaviour, "succeeded"),
    )
    until = None
    if behaviour == "asks":
        email = parameters.get("instructions_email") or charge["billing_details"]["email"] or _BUYER
        until = ask_for_account(body, email, now=call.account.now())
    taken = balance.move(
        call, "refund", source=body, amount=-amount, description=f"REFUND FOR {charge['id']}"
    )
    body["balance_transaction"] = taken["id"]
    call.storage.insert(Stored(body))
    emit(call, "refund.created", body)
    _count_refunded(call, paid, amount, kind="charge.refunded")
    answer = dict(body)
    if behaviour == "succeeds":
        _tell_reference(call, body)
    else:
        outcome = "succeeded" if behaviour == "pending" else "failed"
        pending.begin(call, "refund", body["id"], outcome, due_at=until)
    return Answer(answer)


def update(call: Call, stored: Stored, parameters: Json) -> Answer:
    """Change a refund's metadata, the only thing that may be changed."""
    body = stored.body
    previous = {"metadata": body["metadata"]}
    body["metadata"] = merged_metadata(body["metadata"], parameters.get("metadata", {}))
    call.storage.update(stored)
    _tell_update(call, body, previous)
    return Answer(body)


def cancel(call: Call, stored: Stored) -> Answer:
    """Cancel a refund that waits for the customer; StripeError for any other."""
    if stored.body["status"] != "requires_action":
        raise refused("Canceling this refund is unsupported.")
    _undo(call, stored, "canceled", "merchant_request")
    return Answer(stored.body)


def settle(call: Call, stored: Stored, outcome: str, *, reason: str = "expired_or_canceled_card") -> Answer:
    """End a refund: `succeeded`, `failed` (one that had succeeded too) or `canceled`; or go on to `pending`.

    `reason` is why it failed. StripeError if it has ended otherwise.
    """
    body = stored.body
    if body["status"] not in _BEFORE[outcome]:
        raise refused(f"This refund has a status of {body['status']}: it cannot become {outcome}.")
    if outcome == "pending":
        _change(call, stored, {"status": "pending", "pending_reason": "processing"})
        pending.begin(call, "refund", stored.id, "succeeded")
    elif outcome == "succeeded":
        _change(call, stored, {"status": "succeeded"})
    else:
        _undo(call, stored, outcome, "merchant_request" if outcome == "canceled" else reason)
    return Answer(body)


def fail_waiting(call: Call, charge_id: str) -> None:
    """Fail the refunds of a charge that are not done yet: its money goes back by a dispute now."""
    waiting = call.storage.select(
        "refund",
        "json_extract(body, '$.charge') = ? AND json_extract(body, '$.status') IN (?, ?)",
        (charge_id, *_WAITING),
        limit=-1,
        oldest_first=True,
    )
    for body in waiting:
        settle(call, Stored(body), "failed", reason="charge_for_pending_refund_disputed")


def charge_named(call: Call, parameters: Json) -> Stored:
    """The succeeded charge that `charge` or `payment_intent` names; StripeError if there is none."""
    intent_id, charge_id = parameters.get("payment_intent"), parameters.get("charge")
    if intent_id is None and charge_id is None:
        raise invalid_parameter(
            "One of the following params should be provided for this request: payment_intent or charge."
        )
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


def _refundable(paid: Stored, parameters: Json) -> int:
    """The amount that is asked for; StripeError if it cannot be refunded."""
    charge = paid.body
    if paid.private.get("charged_back"):
        raise refused(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed"
        )
    left = charge["amount_captured"] - charge["amount_refunded"]
    if left == 0:
        raise refused(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    amount: int = parameters.get("amount", left)
    if amount > left:
        raise _too_much(charge, amount, left)
    return amount


def _too_much(charge: Json, amount: int, left: int) -> StripeError:
    return refused(
        f"Refund amount ({format_amount(amount, charge['currency'])}) is greater than unrefunded amount "
        f"on charge ({format_amount(left, charge['currency'])})",
        param="amount",
    )


def _count_refunded(call: Call, paid: Stored, amount: int, *, kind: str) -> None:
    """Count `amount` as refunded, or as refunded no more where it is less than 0, and tell of the charge."""
    charge = paid.body
    now = {"amount_refunded": charge["amount_refunded"] + amount}
    if charge["refunded"] != (now["amount_refunded"] == charge["amount_captured"]):
        now["refunded"] = not charge["refunded"]
    previous = {name: charge[name] for name in now}
    charge |= now
    call.storage.update(paid)
    emit(call, kind, charge, previous=previous)


def _undo(call: Call, stored: Stored, status: str, reason: str) -> None:
    """The refund is not to be: its money is back with the account."""
    body = stored.body
    back = balance.move(
        call,
        "refund_failure",
        source=body,
        amount=body["amount"],
        description=f"REFUND FAILURE FOR {body['charge']}",
    )
    change = {"status": status, "failure_reason": reason, "failure_balance_transaction": back["id"]}
    _change(call, stored, change)
    if status == "failed":
        emit(call, "refund.failed", body)
    paid = call.storage.find("charge", body["charge"])
    if paid is not None:
        _count_refunded(call, paid, -body["amount"], kind="charge.updated")


def _change(call: Call, stored: Stored, change: Json) -> None:
    """Give a refund that ends its last state, and tell of it."""
    body = stored.body
    gone = {name: body.pop(name) for name in ("pending_reason", "next_action") if name in body}
    previous = gone | {name: body.get(name) for name in change}
    body |= change
    call.storage.update(stored)
    pending.end(call.storage, body["id"])
    _tell_update(call, body, previous)


def _tell_reference(call: Call, body: Json) -> None:
    """The network's reference arrives after the refund was answered, as an update of it."""
    card = body["destination_details"]["card"]
    reference = {"reference": body["id"][-12:], "reference_status": "available"}
    previous = {"destination_details": {"card": {name: card.get(name) for name in reference}}}
    body["destination_details"] = {"card": card | reference, "type": "card"}
    call.storage.update(Stored(body))
    _tell_update(call, body, previous)


def _tell_update(call: Call, body: Json, previous: Json) -> None:
    """An update of a refund is told twice: by its own event, and by the one that charges had before it."""
    emit(call, "refund.updated", body, previous=previous)
    emit(call, "charge.refund.updated", body, previous=previous)
