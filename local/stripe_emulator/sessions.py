"""Hosted checkout sessions: opened, paid by the buyer or expired.

https://docs.stripe.com/payments/checkout: a session's intent appears when the buyer submits, and is the session's: expiring that cancels it.
"""

import json
from typing import Any

from local.stripe_emulator import delayed, intents
from local.stripe_emulator.account import Account, Answer, Call
from local.stripe_emulator.attempts import attach, attempt
from local.stripe_emulator.charge_limits import check_amount
from local.stripe_emulator.errors import invalid_parameter, no_such, refused
from local.stripe_emulator.events import emit
from local.stripe_emulator.identifiers import new_id, new_session_id
from local.stripe_emulator.method_types import choose_method_types
from local.stripe_emulator.parameters import merged_metadata
from local.stripe_emulator.session_shapes import checkout_session, customer_details, line_item
from local.stripe_emulator.storage import Stored

type Json = dict[str, Any]

_SHORTEST_S, _LONGEST_S = 30 * 60, 24 * 60 * 60
_COPIED = ("success_url", "cancel_url", "client_reference_id", "customer_email", "locale", "submit_type")
_COPIED_TO_INTENT = ("description", "receipt_email", "statement_descriptor", "statement_descriptor_suffix")

# Who pays where the session names nobody.
_BUYER = "buyer@example.com"


def load(call: Call, session_id: str) -> Stored:
    """The session, expired first if its time is over; StripeError if there is none."""
    stored = call.storage.find("checkout.session", session_id)
    if stored is None:
        raise no_such("checkout.session", session_id, param="session")
    if stored.body["status"] == "open" and stored.body["expires_at"] <= call.account.now():
        # Nobody asked for it: the event names no request.
        _expire(Call(call.account), stored)
    return stored


def create(call: Call, parameters: Json) -> Answer:
    """Open a session in payment mode."""
    now = call.account.now()
    expires_at = parameters.get("expires_at", now + _LONGEST_S)
    if expires_at < now + _SHORTEST_S:
        raise invalid_parameter(
            "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation.",
            param="expires_at",
        )
    if expires_at > now + _LONGEST_S:
        raise invalid_parameter(
            "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation.",
            param="expires_at",
        )
    items = parameters["line_items"]
    if not items:
        raise invalid_parameter("You must provide at least one line item.", param="line_items")
    currencies = {item["price_data"]["currency"].lower() for item in items}
    if len(currencies) > 1:
        raise invalid_parameter("All line items must have the same currency.", param="line_items")
    currency = currencies.pop()
    lines = [
        line_item(new_id("li"), new_id("price"), new_id("prod", 14), given=item, created=now)
        for item in items
    ]
    total = sum(line["amount_total"] for line in lines)
    check_amount(total, currency, param="line_items")
    session_id = new_session_id()
    body = checkout_session(
        session_id,
        created=now,
        expires_at=expires_at,
        currency=currency,
        total=total,
        url=f"{call.account.public_url}/c/pay/{session_id}",
    )
    for name in _COPIED:
        body[name] = parameters.get(name)
    body["metadata"] = merged_metadata({}, parameters.get("metadata"))
    choose_method_types(body, parameters)
    if body["customer_email"] is not None:
        body["customer_details"] = customer_details(body["customer_email"])
    intent_data = parameters.get("payment_intent_data", {})
    call.storage.insert(Stored(body, {"line_items": lines, "payment_intent_data": intent_data}))
    return Answer(body)


def expire(call: Call, stored: Stored) -> Answer:
    """Expire a session before its time; StripeError unless it is open."""
    status = stored.body["status"]
    if status != "open":
        raise refused(
            'Only Checkout Sessions with a status in ["open"] can be expired. '
            f"This Checkout Session has a status of `{status}`."
        )
    _expire(call, stored)
    return Answer(stored.body)


def expire_overdue(account: Account) -> None:
    """Expire every open session whose time is over."""
    rows = account.storage.execute(
        "SELECT body, private FROM objects WHERE kind = 'checkout.session'"
        " AND json_extract(body, '$.status') = 'open' AND json_extract(body, '$.expires_at') <= ?",
        (account.now(),),
    ).fetchall()
    for body, private in rows:
        with account.storage.transaction():
            _expire(Call(account), Stored(json.loads(body), json.loads(private)))


def _expire(call: Call, stored: Stored) -> None:
    session = stored.body
    session |= {"status": "expired", "url": None}
    call.storage.update(stored)
    intent = _intent_of(call, stored)
    if intent is not None:
        intents.cancel_with_session(call, intent)
    emit(call, "checkout.session.expired", session)


def pay(call: Call, stored: Stored, token: str) -> Answer:
    """The buyer submits the page: the intent appears, and is charged.

    Answers the session; or 402 for a declined card, the session staying open for another try.
    """
    session = stored.body
    if session["status"] != "open":
        raise refused(f"This Checkout Session is no longer open: it has a status of `{session['status']}`.")
    email = session["customer_email"] or _BUYER
    intent = _intent_of(call, stored) or _submit(call, stored)
    attach(call, intent, token, email=email)
    answer = attempt(call, intent, return_url=None)
    return settle(call, intent) or answer


def settle(call: Call, intent: Stored) -> Answer | None:
    """Bring an intent's session up to date after an attempt to pay it, or word of a delayed payment.

    Answers the session if the intent has one and the attempt did not fail, else None.
    """
    session_id = intent.private["session"]
    if session_id is None:
        return None
    stored = load(call, session_id)
    session = stored.body
    status = intent.body["status"]
    if session["status"] == "complete":
        _end_delayed(call, stored, status)
    elif status == "succeeded" or delayed.awaits_funds(intent):
        session |= {
            "status": "complete",
            "payment_status": "paid" if status == "succeeded" else "unpaid",
            "customer_details": customer_details(session["customer_email"] or _BUYER),
            "url": None,
        }
        call.storage.update(stored)
        emit(call, "checkout.session.completed", session)
    return None if status == "requires_payment_method" else Answer(session)


def _end_delayed(call: Call, stored: Stored, status: str) -> None:
    """The buyer went long ago; the money has come, or will not."""
    if status == "succeeded":
        stored.body["payment_status"] = "paid"
        call.storage.update(stored)
        emit(call, "checkout.session.async_payment_succeeded", stored.body)
    elif status == "requires_payment_method":
        emit(call, "checkout.session.async_payment_failed", stored.body)


def _submit(call: Call, stored: Stored) -> Stored:
    session = stored.body
    given = stored.private["payment_intent_data"]
    intent = intents.new_intent(
        call, amount=session["amount_total"], currency=session["currency"], session_id=session["id"]
    )
    for name in _COPIED_TO_INTENT:
        intent.body[name] = given.get(name)
    intent.body["metadata"] = merged_metadata({}, given.get("metadata"))
    choose_method_types(intent.body, {"payment_method_types": session["payment_method_types"]})
    intents.announce(call, intent)
    session["payment_intent"] = intent.id
    call.storage.update(stored)
    return intent


def _intent_of(call: Call, stored: Stored) -> Stored | None:
    intent_id = stored.body["payment_intent"]
    return None if intent_id is None else call.storage.find("payment_intent", intent_id)
