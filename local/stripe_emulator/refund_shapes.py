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


# How the money goes back where it is no card's.
_TRANSFERS = {"sepa_debit": "eu_bank_transfer", "us_bank_account": "us_bank_transfer"}


def _destination(method_type: str, status: str) -> Json:
    if method_type == "card":
        card = {"reference_status": "pending", "reference_type": "acquirer_reference_number"}
        return {"card": card | {"type": "pending" if status == "pending" else "refund"}, "type": "card"}
    transfer = _TRANSFERS[method_type]
    return {transfer: {"reference": None, "reference_status": "pending"}, "type": transfer}
