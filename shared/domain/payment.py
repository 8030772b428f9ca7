"""What to do when Stripe says something about a payment: a pure function of facts.

Of a payment only facts count that never become untrue: captured, canceled. Every other status is a hint for display.
So order, duplicates and two events of one second cannot change the outcome.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Observation:
    """What Stripe has said of one payment, in one object at one moment.

    Amounts are minor units. `captured_amount` is 0 until money has come in. `payment_id` is ours, from the metadata.
    """

    payment_intent_id: str | None
    checkout_session_id: str | None
    payment_id: str | None
    amount: int
    currency: str
    captured_amount: int
    canceled: bool
    awaits_funds: bool
    status: str
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Payment:
    """Our row of the payment, locked."""

    id: str
    reservation_id: str
    amount: int
    currency: str
    captured_amount: int
    canceled: bool
    payment_intent_id: str | None
    funds_awaited: bool
    status: str
    status_at: datetime


@dataclass(frozen=True, slots=True)
class Hold:
    """The payment's hold, locked. `begun`: a slot of it has started. `booked_by`: the payment that booked it."""

    status: str
    begun: bool
    booked_by: str | None


class Action(StrEnum):
    """The one effect that the facts call for."""

    CONFIRM = "confirm"
    SEAT_AGAIN_OR_REFUND = "seat-again-or-refund"
    RELEASE_AND_REFUND = "release-and-refund"
    REFUND = "refund"
    CANCEL = "cancel"
    NOTE = "note"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Decision:
    """An action, and for a refund the reason that customer and operator are told."""

    action: Action
    reason: str | None = None


def reason_not_ours(
    *, livemode: bool, account: str | None, our_livemode: bool, our_account: str | None
) -> str | None:
    """Why Stripe's word is another account's, or of another mode; None where it is meant for us."""
    if livemode != our_livemode:
        return "livemode"
    if account is not None and account != our_account:
        return "account"
    return None


def reason_to_quarantine(payment: Payment, seen: Observation) -> str | None:
    """Why what Stripe says in our account cannot be about the payment that we asked for; None where it can."""
    if seen.currency != payment.currency:
        return "currency"
    if seen.amount != payment.amount:
        return "amount"
    says_paid = seen.status == "succeeded" or seen.captured_amount > 0
    if says_paid and seen.captured_amount != payment.amount:
        return "amount-received"
    return None


def decide(payment: Payment, hold: Hold, seen: Observation) -> Decision:
    """What follows from what Stripe says, given what is known and where the hold stands."""
    if payment.captured_amount > 0:
        return Decision(Action.NOTHING)
    if seen.captured_amount > 0:
        return _place_money(payment, hold)
    if payment.canceled:
        return Decision(Action.NOTHING)
    if seen.canceled:
        return Decision(Action.CANCEL)
    return Decision(Action.NOTE if seen.seen_at >= payment.status_at else Action.NOTHING)


def tells_news(payment: Payment, seen: Observation) -> bool:
    """Whether noting it would change anything but the time: another status, funds on their way, the intent's id."""
    return (
        seen.status != payment.status
        or (seen.awaits_funds and not payment.funds_awaited)
        or (seen.payment_intent_id is not None and payment.payment_intent_id is None)
    )


def _place_money(payment: Payment, hold: Hold) -> Decision:
    """Money has come in for the first time. It gets its seats, or it goes back; there is no third end."""
    match hold.status:
        case "active" if hold.begun:
            return Decision(Action.RELEASE_AND_REFUND, "slot-begun")
        case "active":
            return Decision(Action.CONFIRM)
        case "expired":
            return Decision(Action.SEAT_AGAIN_OR_REFUND)
        case "cancelled":
            return Decision(Action.REFUND, "reservation-cancelled")
        case _:
            reason = "paid-twice" if hold.booked_by not in (None, payment.id) else "booked-otherwise"
            return Decision(Action.REFUND, reason)
