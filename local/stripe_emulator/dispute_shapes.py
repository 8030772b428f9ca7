"""Disputes as Stripe's API shows them."""

from typing import Any

type Json = dict[str, Any]

# https://docs.stripe.com/api/disputes/evidence_object: what a response to a dispute can say, all of it text.
EVIDENCE = (
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
)

# Visa's code for each of Stripe's reasons, https://docs.stripe.com/disputes/categories.
NETWORK_CODES = {
    "credit_not_processed": "13.6",
    "duplicate": "12.6",
    "fraudulent": "10.4",
    "product_not_received": "13.1",
    "product_unacceptable": "13.3",
    "subscription_canceled": "13.2",
}

_ANSWER_WITHIN_S = 8 * 86_400
_DAY_S = 86_400


def dispute(
    dispute_id: str, *, charge: Json, amount: int, created: int, reason: str, status: str, case_type: str
) -> Json:
    """A new dispute of `amount` of a charge, https://docs.stripe.com/api/disputes/object."""
    code = NETWORK_CODES.get(reason)
    if code is not None and case_type == "inquiry":
        # An inquiry names the category alone.
        code = code.partition(".")[0]
    body: Json = {
        "id": dispute_id,
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": created,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {"appeal": None, "enhanced_evidence": {}} | dict.fromkeys(EVIDENCE),
        "evidence_details": {
            "due_by": end_of_answering(created),
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "intended_submission_method": None,
        "is_charge_refundable": case_type == "inquiry",
        "livemode": False,
        "metadata": {},
        "network_reason_code": code,
        "payment_intent": charge["payment_intent"],
        "reason": reason,
        "status": status,
    }
    card = charge["payment_method_details"].get("card")
    if card is not None:
        details = {"case_type": case_type, "network": card["network"], "network_reason_code": code}
        body["payment_method_details"] = {"card": {"brand": card["brand"]} | details, "type": "card"}
    return body


def end_of_answering(now: int) -> int:
    """When a response to a dispute of `now` must have come: the end of a day, UTC."""
    return (now + _ANSWER_WITHIN_S) // _DAY_S * _DAY_S + _DAY_S - 1
