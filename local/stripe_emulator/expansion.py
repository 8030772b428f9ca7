"""`expand[]`: ids replaced by the objects they name (https://docs.stripe.com/api/expanding_objects)."""

from collections.abc import Sequence
from typing import Any

from local.stripe_emulator.account import Call
from local.stripe_emulator.errors import invalid_parameter
from local.stripe_emulator.listing import Conditions, list_object, page
from local.stripe_emulator.storage import Stored

type Json = dict[str, Any]

_DEEPEST = 4

# The field of an object that may be expanded, and the kind of object its id names.
_REFERENCES = {
    ("payment_intent", "latest_charge"): "charge",
    ("payment_intent", "payment_method"): "payment_method",
    ("charge", "payment_intent"): "payment_intent",
    ("dispute", "charge"): "charge",
    ("dispute", "payment_intent"): "payment_intent",
    ("refund", "balance_transaction"): "balance_transaction",
    ("refund", "charge"): "charge",
    ("refund", "failure_balance_transaction"): "balance_transaction",
    ("refund", "payment_intent"): "payment_intent",
    ("refund", "payment_method"): "payment_method",
    ("checkout.session", "payment_intent"): "payment_intent",
}


def expand(call: Call, body: Json, paths: Sequence[str]) -> Json:
    """The body with each dotted path expanded, a list's below `data`; StripeError for any other field."""
    for path in paths:
        steps = path.split(".")
        if len(steps) > _DEEPEST:
            raise invalid_parameter(f"You cannot expand more than {_DEEPEST} levels.", param="expand")
        _expand(call, body, steps, path)
    return body


def _expand(call: Call, body: Json, steps: Sequence[str], path: str) -> None:
    if not steps:
        return
    field, below = steps[0], steps[1:]
    if body.get("object") in ("list", "search_result") and field == "data":
        for item in body["data"]:
            _expand(call, item, below, path)
        return
    if not isinstance(body.get(field), dict):
        _fill(call, body, field, path)
    if body.get(field) is not None:
        _expand(call, body[field], below, path)


def _fill(call: Call, body: Json, field: str, path: str) -> None:
    kind = body.get("object", "")
    if (kind, field) == ("checkout.session", "line_items"):
        session = call.storage.find(kind, body["id"])
        body[field] = None if session is None else line_items(session)
    elif (kind, field) == ("charge", "refunds"):
        body[field] = refunds_of_charge(call, body["id"])
    elif (kind, field) in _REFERENCES:
        if body.get(field) is not None:
            stored = call.storage.find(_REFERENCES[kind, field], body[field])
            body[field] = None if stored is None else stored.body
    else:
        raise invalid_parameter(f"This property cannot be expanded ({path}).", param="expand")


def line_items(session: Stored, *, limit: int = 10) -> Json:
    """The first lines of a session."""
    lines: list[Json] = session.private["line_items"]
    url = f"/v1/checkout/sessions/{session.id}/line_items"
    return list_object(url, lines[:limit], has_more=len(lines) > limit)


def refunds_of_charge(call: Call, charge_id: str) -> Json:
    """The newest refunds of a charge."""
    conditions = Conditions({})
    conditions.equal("charge", charge_id)
    return page(call, "refund", f"/v1/charges/{charge_id}/refunds", {}, conditions)
