"""Balance transactions: what a refund or a dispute takes from the account's balance, and gives back."""

from typing import Any

from local.stripe_emulator.account import Call
from local.stripe_emulator.identifiers import new_id
from local.stripe_emulator.storage import Stored

type Json = dict[str, Any]

_AVAILABLE_AFTER_S = 2 * 86_400


def move(
    call: Call,
    kind: str,
    *,
    source: Json,
    amount: int,
    description: str,
    reporting_category: str | None = None,
    fee: int = 0,
) -> Json:
    """Keep a movement of `amount` minor units that `source` caused; less than 0 is taken from the account.

    https://docs.stripe.com/api/balance_transactions/object
    """
    now = call.account.now()
    details = {"amount": fee, "application": None, "currency": source["currency"], "type": "stripe_fee"}
    body = {
        "id": new_id("txn"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": now + _AVAILABLE_AFTER_S,
        "balance_type": "payments",
        "created": now,
        "currency": source["currency"],
        "description": description,
        "exchange_rate": None,
        "fee": fee,
        "fee_details": [details | {"description": "Dispute fee"}] if fee else [],
        "net": amount - fee,
        "reporting_category": reporting_category or kind,
        "source": source["id"],
        "status": "pending",
        "type": kind,
    }
    call.storage.insert(Stored(body))
    return body
