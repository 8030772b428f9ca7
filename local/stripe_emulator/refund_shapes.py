"""Refunds as Stripe's API shows them, by how the charge was paid."""

from typing import Any

type Json = dict[str, Any]


def refund(
    refund_id: str,
    *,
    paid: Json,
    amount: int,
    created: int,
    reason: str | None,
    metadata: Json,
    status: str,
) -> Json:
    """A new refund of `amount` of the charge `paid`; https://docs.stripe.com/api/refunds/object."""
    body: Json = {
        "id": refund_id,
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": paid["id"],
        "created": created,
        "currency": paid["currency"],
        "customer": None,
        "customer_account": None,
        "destination_details": _destination(paid["payment_method_details"]["type"], status),
        "metadata": metadata,
        "payment_intent": paid["payment_intent"],
        "payment_method": paid["payment_method"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": status,
        "transfer_reversal": None,
    }
    if status == "pending":
        body["pending_reason"] = "processing"
    return body


def ask_for_account(body: Json, email: str, *, now: int) -> int:
    """Let a refund wait for the customer to name an account, by mail; answers until when, in Unix seconds."""
    until = now + _ASKED_FOR_S
    sent = {"email_sent_at": now, "email_sent_to": email}
    body["instructions_email"] = email
    body["next_action"] = {
        "type": "display_details",
        "display_details": {"email_sent": sent, "expires_at": until},
    }
    return until


_ASKED_FOR_S = 45 * 86_400

# How the money goes back where it is no card's.
_TRANSFERS = {
    "boleto": "br_bank_transfer",
    "konbini": "jp_bank_transfer",
    "sepa_debit": "eu_bank_transfer",
    "us_bank_account": "us_bank_transfer",
}


def _destination(method_type: str, status: str) -> Json:
    if method_type == "card":
        card = {"reference_status": "pending", "reference_type": "acquirer_reference_number"}
        return {"card": card | {"type": "pending" if status == "pending" else "refund"}, "type": "card"}
    transfer = _TRANSFERS[method_type]
    return {transfer: {"reference": None, "reference_status": "pending"}, "type": transfer}
