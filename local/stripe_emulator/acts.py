"""What Stripe's users, their banks and Stripe's staff do beyond the API, each with an address of its own.

Every act takes a JSON object, answers the object that it changed, and is listed by `GET /_emulator`.
"""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from local.stripe_emulator import buyer, disputes, refunds, settlement
from local.stripe_emulator.account import Account, Answer, Call
from local.stripe_emulator.dispute_shapes import NETWORK_CODES
from local.stripe_emulator.errors import invalid_parameter
from local.stripe_emulator.form import Form
from local.stripe_emulator.identifiers import new_id
from local.stripe_emulator.parameters import Choice, Flag, Group, Text, Whole

type Json = dict[str, Any]


@dataclass(frozen=True)
class Act:
    """What a POST of `path` does; `{id}` in the path is the second argument of `run`."""

    path: str
    parameters: Group
    run: Callable[[Account, str, Json], Answer]

    @property
    def does(self) -> str:
        """The first line of what is written about it."""
        return (inspect.getdoc(self.run) or "").partition("\n")[0]

    def read(self, document: object) -> Json:
        """The parameters in a JSON document; StripeError for what they may not be."""
        if not isinstance(document, dict):
            raise invalid_parameter("The body must be a JSON object.")
        given = cast("dict[str, object]", document)
        # Validated as form parameters are, which are text.
        text: Form = {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()
        }
        return self.parameters.read(text)


def _pay_session(account: Account, session_id: str, given: Json) -> Answer:
    """The buyer submits the checkout page with a test payment method."""
    return buyer.pay_session(account, session_id, given["payment_method"])


def _authenticate_session(account: Account, session_id: str, given: Json) -> Answer:
    """The buyer ends the 3-D Secure step of a session's intent."""
    return buyer.authenticate_session(account, session_id, succeeded=given["outcome"] == "succeeded")


def _authenticate_intent(account: Account, intent_id: str, given: Json) -> Answer:
    """The buyer ends the 3-D Secure step of an intent."""
    return buyer.authenticate_intent(account, intent_id, succeeded=given["outcome"] == "succeeded")


def _refund_by_hand(account: Account, _: str, given: Json) -> Answer:
    """A person refunds a charge in the dashboard, in whole or in part: a refund without metadata."""
    with account.storage.transaction():
        # The dashboard is a client like any other: what it does has a request id.
        return refunds.create(Call(account, new_id("req", 14)), given)


def _end_refund(account: Account, refund_id: str, given: Json) -> Answer:
    """The bank ends a refund that is pending; one that waits for the buyer can become `pending`, any can fail."""
    return settlement.settle(account, "refund", refund_id, given["outcome"])


def _dispute(account: Account, _: str, given: Json) -> Answer:
    """The customer's bank disputes a charge, all of it or `amount`; with `inquiry` it only asks."""
    with account.storage.transaction():
        call = Call(account)
        paid = refunds.charge_named(call, given)
        return disputes.open_dispute(
            call,
            paid,
            reason=given.get("reason"),
            inquiry=given.get("inquiry", False),
            amount=given.get("amount"),
        )


def _advance_dispute(account: Account, dispute_id: str, given: Json) -> Answer:
    """The bank decides a dispute, reviews it, closes an inquiry or escalates it to a chargeback."""
    return settlement.settle(account, "dispute", dispute_id, given["outcome"])


def _end_payment(account: Account, object_id: str, given: Json) -> Answer:
    """The money of a delayed payment comes, or does not; by its intent's id, or its session's."""
    session = account.storage.find("checkout.session", object_id)
    intent_id = object_id if session is None else str(session.body["payment_intent"])
    return settlement.settle(account, "payment_intent", intent_id, given["outcome"])


def _settle_all(account: Account, _: str, __: Json) -> Answer:
    """Everything that is pending ends now, as it would end by itself; answers how much it was."""
    return Answer({"settled": settlement.settle_due(account, until=float("inf"))})


_STEP = Group({"outcome": Choice(("succeeded", "failed"))}, required=("outcome",))
_CHARGED = {"payment_intent": Text(), "charge": Text(), "amount": Whole(1)}

ACTS = (
    Act("/checkout/{id}/pay", Group({"payment_method": Text()}, required=("payment_method",)), _pay_session),
    Act("/checkout/{id}/authenticate", _STEP, _authenticate_session),
    Act("/payment_intents/{id}/authenticate", _STEP, _authenticate_intent),
    Act(
        "/refunds",
        Group({**_CHARGED, "reason": Choice(("duplicate", "fraudulent", "requested_by_customer"))}),
        _refund_by_hand,
    ),
    Act(
        "/refunds/{id}",
        Group({"outcome": Choice(("succeeded", "failed", "canceled", "pending"))}, required=("outcome",)),
        _end_refund,
    ),
    Act(
        "/disputes",
        Group({**_CHARGED, "reason": Choice(tuple(NETWORK_CODES)), "inquiry": Flag()}),
        _dispute,
    ),
    Act(
        "/disputes/{id}",
        Group(
            {"outcome": Choice(("under_review", "won", "lost", "warning_closed", "escalate"))},
            required=("outcome",),
        ),
        _advance_dispute,
    ),
    Act(
        "/payments/{id}",
        Group({"outcome": Choice(("succeeded", "failed", "expired", "processing"))}, required=("outcome",)),
        _end_payment,
    ),
    Act("/pending", Group(), _settle_all),
)
