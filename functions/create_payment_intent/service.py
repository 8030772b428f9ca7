"""Paying for a hold in three phases: claim and write (one commit), ask Stripe (no transaction), record (one commit)."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from pydantic import Field

from database import payments
from database.connection import Context, Database
from domain import refusals
from domain.currencies import chargeable_limits
from domain.refusals import BY_SLUG
from domain.reservation import token_matches
from payments.closing import Closed, close_payment
from payments.creating import create_at_stripe, frozen_parameters
from runtime.fields import Form, RequestModel
from runtime.http import dump
from runtime.kill_points import kill_point
from runtime.observability import count, identify, logger
from runtime.outbox_kick import kick_outbox
from runtime.settings import Minutes, PaymentSettings, accepted, credential, load
from stripe_gateway.failures import StripeFailed, StripeRefused, StripeUnanswered
from stripe_gateway.gateway import StripeGateway, StripePayment, load_sdk

load_sdk()
# As long as this function may run (12 s): whoever finds the lease over knows that its owner is gone.
LEASE = timedelta(seconds=12)
# https://docs.stripe.com/error-codes: what Stripe says of an amount that it will not charge.
AMOUNT_CODES = frozenset(
    {"amount_too_small", "amount_too_large", "invalid_charge_amount", "parameter_invalid_integer"}
)


class Settings(PaymentSettings):
    """What `create-payment-intent` is told."""

    token_secret: str = Field(min_length=16)
    payment_window_minutes: Minutes = 10


class PaymentRequest(RequestModel):
    """A payment for a hold. The amount is the server's; `expected_*` only has to agree."""

    reservation_id: UUID
    mode: Literal["payment_intent", "checkout_session"] = "payment_intent"
    expected_amount: Annotated[int | None, Field(ge=0, le=10**12)] = None
    expected_currency: Annotated[str, Form(r"[a-z]{3}", "a currency's three lower-case letters")] | None = (
        None
    )


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer's status and JSON text, and whether it was given before."""

    status: int
    body: str
    replayed: bool = False


@cache
def _database() -> Database:
    return Database(credential(Settings, "database_url"))


@cache
def _gateway() -> StripeGateway:
    return StripeGateway(credential(Settings, "stripe_secret_key"), load(Settings).stripe_api_base)


def pay(request: PaymentRequest, token: str | None, key: str | None, context: Context) -> Answered:
    """The one live payment of the hold, made now or already there."""
    settings = load(Settings)
    reservation_id = str(request.reservation_id)
    secrets = accepted(settings, "token_secret")
    if not token or not any(token_matches(reservation_id, token, secret) for secret in secrets):
        raise refusals.UnknownReservation
    identify(reservation_id=reservation_id)
    begun = _begin(request, key, context)
    payment = begun["payment"]
    identify(payment_id=payment["id"])
    if begun["outcome"] == "replayed":
        return _replay(begun)
    kill_point("pay.before-stripe")
    made = _ask_stripe(begun["outcome"], payment, context)
    kill_point("pay.after-stripe")
    if made.seen.canceled:
        # It was ended at Stripe, not by us: this row is over, and the hold may have another payment.
        close_payment(_database(), _gateway(), payment, context)
        raise refusals.RequestInProgress(
            "The payment was cancelled at the provider; try again for a new one."
        )
    return _record(begun, made, key, context)


def _begin(request: PaymentRequest, key: str | None, context: Context) -> dict[str, Any]:
    """Phase 1: the hold is checked and extended, the payment's row is written, and both are ours for a while."""
    settings = load(Settings)
    payment_id = uuid4()
    parameters = frozen_parameters(
        request.mode,
        payment_id=str(payment_id),
        reservation_id=str(request.reservation_id),
        request_id=context["request_id"] or "",
        payment_method_types=settings.payment_method_types,
        success_url=settings.checkout_success_url,
        cancel_url=settings.checkout_cancel_url,
        now=time.time(),
    )
    begun = _database().run(
        lambda conn: payments.begin_payment(
            conn,
            payment_id=payment_id,
            reservation_id=request.reservation_id,
            mode=request.mode,
            parameters=parameters,
            chargeable=chargeable_limits(),
            window=timedelta(minutes=settings.payment_window_minutes),
            lease=LEASE,
            expected_amount=request.expected_amount,
            expected_currency=request.expected_currency,
            key=key,
            request_hash=hashlib.sha256(request.model_dump_json().encode()).hexdigest(),
            context=context,
        )
    )
    if "payment" not in begun:
        raise BY_SLUG[begun["outcome"]]
    return begun


def _ask_stripe(outcome: str, payment: Mapping[str, Any], context: Context) -> StripePayment:
    """Phase 2, with no transaction open."""
    try:
        if outcome == "fetch":
            return _gateway().fetch(payment["payment_intent_id"], payment["checkout_session_id"])
        return create_at_stripe(_database(), _gateway(), payment, context)
    except StripeRefused as failure:
        if outcome == "fetch":
            _leave(payment, context)
            raise refusals.PaymentProviderUnavailable from failure
        # Nothing was made, and nothing will be under this row: the hold goes on without it.
        _database().run(
            lambda conn: payments.finish_close(
                conn,
                payment["id"],
                payment["attempt"],
                context={"actor": "system", "reason": "refused by stripe"},
            )
        )
        count("PaymentRefusedByStripe")
        logger.error("stripe refused to make the payment", extra={"stripe_code": failure.code})
        if failure.code in AMOUNT_CODES:
            raise refusals.AmountNotChargeable from failure
        raise refusals.PaymentProviderUnavailable from failure
    except (StripeUnanswered, StripeFailed) as failure:
        _leave(payment, context)
        count("PaymentUnknown")
        raise refusals.PaymentProviderUnavailable from failure


def _leave(payment: Mapping[str, Any], context: Context) -> None:
    _database().run(
        lambda conn: payments.leave_payment_unknown(conn, payment["id"], payment["attempt"], context=context)
    )


def _record(begun: Mapping[str, Any], made: StripePayment, key: str | None, context: Context) -> Answered:
    """Phase 3: what Stripe answered, if the payment is still ours and its hold still wants it."""
    payment = begun["payment"]
    status = 201 if begun["outcome"] == "create" else 200
    answer = _answer(payment, made)
    recorded = _database().run(
        lambda conn: payments.record_payment(
            conn,
            payment_id=payment["id"],
            attempt=payment["attempt"],
            payment_intent_id=made.seen.payment_intent_id,
            checkout_session_id=made.seen.checkout_session_id,
            status=made.seen.status,
            key=key,
            key_attempt=begun["key_attempt"],
            key_status=status,
            answer=dump(answer),
            context=context,
        )
    )
    if recorded == "superseded":
        raise refusals.RequestInProgress
    if recorded != "recorded":
        raise _closed_with_its_hold(recorded, payment, made, context)
    count("PaymentCreated" if begun["outcome"] == "create" else "PaymentShownAgain")
    return Answered(status, _with_client_secret(answer, made))


def _closed_with_its_hold(
    hold_status: str, payment: Mapping[str, Any], made: StripePayment, context: Context
) -> refusals.Refusal:
    """The hold was ended while we were at Stripe: the payment ends with it, unless it was paid in the meantime."""
    ids = {
        "payment_intent_id": made.seen.payment_intent_id,
        "checkout_session_id": made.seen.checkout_session_id,
        "known": True,
    }
    closed = close_payment(_database(), _gateway(), {**payment, **ids}, context)
    if closed is Closed.REFUNDED:
        kick_outbox(load(Settings).deliver_outbox_function)
    if closed is Closed.CONFIRMED or hold_status == "completed":
        return refusals.AlreadyPaid()
    if hold_status == "cancelled":
        return refusals.ReservationCancelled()
    if hold_status == "expired":
        return refusals.ReservationExpired("The reservation was ended while its payment was being made.")
    return refusals.RequestInProgress("The payment was cancelled at the provider; try again for a new one.")


def _replay(begun: Mapping[str, Any]) -> Answered:
    """The stored answer, with the secret that is stored nowhere."""
    stored, status = begun["answer"], begun["status"]
    answer = json.loads(stored)
    count("PaymentReplayed")
    if "payment_intent_id" not in answer:
        return Answered(status, stored, replayed=True)
    try:
        made = _gateway().fetch(answer["payment_intent_id"], None)
    except (StripeUnanswered, StripeFailed, StripeRefused) as failure:
        raise refusals.PaymentProviderUnavailable from failure
    return Answered(status, _with_client_secret(answer, made), replayed=True)


def _answer(payment: Mapping[str, Any], made: StripePayment) -> dict[str, Any]:
    """What is stored of the answer: all of it but the client secret. The page of a session is no secret of Stripe's."""
    by_mode = (
        {"checkout_session_id": made.seen.checkout_session_id, "url": made.url}
        if payment["mode"] == "checkout_session"
        else {"payment_intent_id": made.seen.payment_intent_id}
    )
    return {
        "payment_id": payment["id"],
        **by_mode,
        "amount": payment["amount"],
        "currency": payment["currency"],
        "status": made.seen.status,
        "expires_at": payment["expires_at"],
    }


def _with_client_secret(answer: Mapping[str, Any], made: StripePayment) -> str:
    if "payment_intent_id" not in answer:
        return dump(answer)
    payment_id, payment_intent_id, *rest = answer.items()
    return dump(dict([payment_id, payment_intent_id, ("client_secret", made.client_secret), *rest]))
