"""Disputes: a chargeback takes the money at once, an inquiry only asks (https://docs.stripe.com/disputes).

A chargeback ends won, which gives the money back, or lost. An inquiry is closed, or escalates to a chargeback.
"""

from typing import Any

from local.stripe_emulator import balance, pending, refunds
from local.stripe_emulator.account import Answer, Call
from local.stripe_emulator.dispute_shapes import NETWORK_CODES, dispute, end_of_answering
from local.stripe_emulator.errors import invalid_parameter, no_such, refused
from local.stripe_emulator.events import emit
from local.stripe_emulator.identifiers import new_id
from local.stripe_emulator.methods import METHODS
from local.stripe_emulator.parameters import merged_metadata
from local.stripe_emulator.storage import Stored
from local.stripe_emulator.vouchers import Voucher

type Json = dict[str, Any]

_CHARGEBACK_OPEN = ("needs_response", "under_review")
_INQUIRY_OPEN = ("warning_needs_response", "warning_under_review")
_FEE = 1500

# https://docs.stripe.com/testing#disputes: evidence[uncategorized_text] that decides a test dispute.
_DECIDING = {
    "winning_evidence": "won",
    "losing_evidence": "lost",
    "escalate_inquiry_evidence": "escalate",
}


def load(call: Call, dispute_id: str) -> Stored:
    """The dispute; StripeError if there is none."""
    stored = call.storage.find("dispute", dispute_id)
    if stored is None:
        raise no_such("dispute", dispute_id, param="dispute")
    return stored


def open_dispute(
    call: Call,
    paid: Stored,
    *,
    reason: str | None = None,
    inquiry: bool = False,
    amount: int | None = None,
) -> Answer:
    """The customer's bank disputes a charge, all of it by default; StripeError while another is open.

    Only a card's bank inquires first, and only that of a card listens: a debit that is disputed is lost.
    """
    charge = paid.body
    by_card = charge["payment_method_details"]["type"] == "card"
    if isinstance(METHODS[paid.private["method"]], Voucher):
        raise refused("What was paid with a voucher cannot be disputed.")
    if inquiry and not by_card:
        raise invalid_parameter("Only a charge of a card is inquired about.", param="inquiry")
    disputed: int = charge["amount_captured"] if amount is None else amount
    if disputed > charge["amount_captured"]:
        raise invalid_parameter("No more can be disputed than was charged.", param="amount")
    if any(body["status"] in (*_CHARGEBACK_OPEN, *_INQUIRY_OPEN) for body in _of_charge(call, charge["id"])):
        raise refused(f"Charge {charge['id']} has an open dispute.")
    stored = Stored(
        dispute(
            new_id("du"),
            charge=charge,
            amount=disputed,
            created=call.account.now(),
            reason=reason or ("fraudulent" if by_card else "debit_not_authorized"),
            status="warning_needs_response" if inquiry else "needs_response",
            case_type="inquiry" if inquiry else "chargeback",
        )
    )
    charge["disputed"] = True
    call.storage.update(paid)
    if not inquiry:
        _withdraw(call, stored)
    call.storage.insert(stored)
    emit(call, "charge.dispute.created", stored.body)
    if not inquiry:
        _charged_back(call, stored)
    if not by_card:
        _close(call, stored, "lost")
    return Answer(stored.body)


def update(call: Call, stored: Stored, parameters: Json) -> Answer:
    """Change metadata, or stage or submit evidence; StripeError once the dispute is closed."""
    body = _still_open(stored)
    before: Json = {name: body[name] for name in ("metadata", "evidence", "evidence_details", "status")}
    change = dict(before)
    if "metadata" in parameters:
        change["metadata"] = merged_metadata(body["metadata"], parameters["metadata"])
    if "evidence" in parameters:
        change["evidence"] = body["evidence"] | parameters["evidence"]
        change["evidence_details"] = body["evidence_details"] | {"has_evidence": True}
        if parameters.get("submit", True):
            change["evidence_details"] |= {
                "submission_count": body["evidence_details"]["submission_count"] + 1,
                "submission_method": "manual",
            }
            change["status"] = body["status"].replace("needs_response", "under_review")
            outcome = _DECIDING.get(str(change["evidence"]["uncategorized_text"]))
            if outcome is not None:
                pending.begin(call, "dispute", body["id"], outcome)
    _change(call, stored, change)
    return Answer(body)


def close(call: Call, stored: Stored) -> Answer:
    """Accept a dispute as lost; an inquiry is closed without one."""
    _still_open(stored)
    return settle(call, stored, "lost")


def settle(call: Call, stored: Stored, outcome: str) -> Answer:
    """Let the bank act: `under_review`, `won`, `lost`, `warning_closed` or `escalate`.

    Evidence that wins or loses ends an inquiry too, as `warning_closed`. StripeError for what cannot happen to
    the dispute any more.
    """
    body = _still_open(stored)
    inquiry = body["status"] in _INQUIRY_OPEN
    if outcome == "under_review":
        _change(call, stored, {"status": body["status"].replace("needs_response", "under_review")})
    elif outcome == "escalate" and inquiry:
        _escalate(call, stored)
    elif outcome == "won" and not inquiry:
        _win(call, stored)
    elif outcome == "lost" and not inquiry:
        _close(call, stored, "lost")
    elif inquiry and outcome != "escalate":
        _close(call, stored, "warning_closed")
    else:
        raise refused(f"This dispute has a status of {body['status']}: it cannot become {outcome}.")
    return Answer(body)


def _still_open(stored: Stored) -> Json:
    if stored.body["status"] not in (*_CHARGEBACK_OPEN, *_INQUIRY_OPEN):
        raise refused("This dispute is already closed")
    return stored.body


def _escalate(call: Call, stored: Stored) -> None:
    """The same dispute is a chargeback from now on."""
    body = stored.body
    code = NETWORK_CODES[body["reason"]]
    card = body["payment_method_details"]["card"]
    card |= {"case_type": "chargeback", "network_reason_code": code}
    details = body["evidence_details"] | {"due_by": end_of_answering(call.account.now())}
    _withdraw(call, stored)
    _change(
        call,
        stored,
        {
            "status": "needs_response",
            "is_charge_refundable": False,
            "network_reason_code": code,
            "evidence_details": details,
            "payment_method_details": {"card": card, "type": "card"},
        },
    )
    _charged_back(call, stored)


def _win(call: Call, stored: Stored) -> None:
    body = stored.body
    body["balance_transactions"].append(
        balance.move(
            call,
            "adjustment",
            source=body,
            amount=body["amount"],
            description=f"Chargeback reversal for {body['charge']}",
            reporting_category="dispute_reversal",
        )
    )
    body |= {"status": "won", "is_charge_refundable": True}
    call.storage.update(stored)
    _mark_charge(call, body["charge"])
    emit(call, "charge.dispute.funds_reinstated", body)
    _close(call, stored, "won")


def _close(call: Call, stored: Stored, status: str) -> None:
    stored.body["status"] = status
    call.storage.update(stored)
    pending.end(call.storage, stored.id)
    emit(call, "charge.dispute.closed", stored.body)


def _withdraw(call: Call, stored: Stored) -> None:
    body = stored.body
    body["balance_transactions"].append(
        balance.move(
            call,
            "adjustment",
            source=body,
            amount=-body["amount"],
            description=f"Chargeback withdrawal for {body['charge']}",
            reporting_category="dispute",
            fee=_FEE,
        )
    )


def _charged_back(call: Call, stored: Stored) -> None:
    """The money is gone: tell so; refunds that are not done will not be, and no other is to be made."""
    emit(call, "charge.dispute.funds_withdrawn", stored.body)
    _mark_charge(call, stored.body["charge"])
    refunds.fail_waiting(call, stored.body["charge"])


def _mark_charge(call: Call, charge_id: str) -> None:
    paid = call.storage.find("charge", charge_id)
    if paid is not None:
        held = [body for body in _of_charge(call, charge_id) if not body["is_charge_refundable"]]
        paid.private["charged_back"] = bool(held)
        call.storage.update(paid)


def _of_charge(call: Call, charge_id: str) -> list[Json]:
    return call.storage.select("dispute", "json_extract(body, '$.charge') = ?", (charge_id,), limit=-1)


def _change(call: Call, stored: Stored, change: Json) -> None:
    """Give an open dispute what changed of it, and tell of it."""
    previous = {name: stored.body[name] for name, value in change.items() if stored.body[name] != value}
    stored.body.update(change)
    call.storage.update(stored)
    emit(call, "charge.dispute.updated", stored.body, previous=previous)
