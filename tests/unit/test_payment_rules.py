"""What follows from what Stripe says: facts decide, in any order, as often as they come."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.payment import (
    Action,
    Decision,
    Hold,
    Observation,
    Payment,
    decide,
    reason_not_ours,
    reason_to_quarantine,
    tells_news,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PAYMENT = Payment(
    "pay",
    "res",
    4500,
    "eur",
    0,
    canceled=False,
    payment_intent_id="pi_1",
    funds_awaited=False,
    status="creating",
    status_at=NOW,
)
ACTIVE = Hold("active", begun=False, booked_by=None)
OPEN = Observation(
    payment_intent_id="pi_1",
    checkout_session_id=None,
    payment_id="pay",
    amount=4500,
    currency="eur",
    captured_amount=0,
    canceled=False,
    awaits_funds=False,
    status="requires_payment_method",
    seen_at=NOW,
)
PAID = replace(OPEN, captured_amount=4500, status="succeeded")
CANCELED = replace(OPEN, canceled=True, status="canceled")


@pytest.mark.parametrize(
    ("hold", "expected"),
    [
        (ACTIVE, Decision(Action.CONFIRM)),
        (replace(ACTIVE, begun=True), Decision(Action.RELEASE_AND_REFUND, "slot-begun")),
        (replace(ACTIVE, status="expired"), Decision(Action.SEAT_AGAIN_OR_REFUND)),
        (replace(ACTIVE, status="cancelled"), Decision(Action.REFUND, "reservation-cancelled")),
        (replace(ACTIVE, status="completed"), Decision(Action.REFUND, "booked-otherwise")),
        (replace(ACTIVE, status="completed", booked_by="other"), Decision(Action.REFUND, "paid-twice")),
    ],
)
def test_money_gets_its_seats_or_goes_back(hold: Hold, expected: Decision) -> None:
    """Money that comes in for the first time is placed or refunded; there is no third end."""
    assert decide(PAYMENT, hold, PAID) == expected


@pytest.mark.parametrize(
    "seen", [OPEN, PAID, CANCELED, replace(OPEN, awaits_funds=True, status="processing")]
)
@pytest.mark.parametrize("status", ["active", "expired", "cancelled", "completed"])
def test_after_the_money_nothing_changes_anything(status: str, seen: Observation) -> None:
    """Once the money is in, whatever else Stripe says of the payment has no effect."""
    paid = replace(PAYMENT, captured_amount=4500)
    assert decide(paid, replace(ACTIVE, status=status), seen).action is Action.NOTHING


def test_a_canceled_payment_stays_canceled_until_money_comes() -> None:
    """After canceled only money has an effect."""
    canceled = replace(PAYMENT, canceled=True)
    assert decide(canceled, ACTIVE, OPEN).action is Action.NOTHING
    assert decide(canceled, ACTIVE, CANCELED).action is Action.NOTHING
    assert decide(canceled, ACTIVE, PAID).action is Action.CONFIRM


def test_an_older_status_is_not_noted() -> None:
    """A status that was true before the one on the row is stale; one of the same second is noted."""
    assert decide(PAYMENT, ACTIVE, OPEN).action is Action.NOTE
    assert decide(PAYMENT, ACTIVE, replace(OPEN, seen_at=NOW - timedelta(seconds=1))).action is Action.NOTHING


@pytest.mark.parametrize(
    ("payment", "seen", "news"),
    [
        ({}, {}, True),
        ({"status": OPEN.status}, {}, False),
        ({"status": OPEN.status, "payment_intent_id": None}, {}, True),
        ({"status": OPEN.status}, {"awaits_funds": True}, True),
        ({"status": OPEN.status, "funds_awaited": True}, {"awaits_funds": True}, False),
    ],
)
def test_asking_about_a_payment_of_which_all_is_known_tells_nothing_new(
    payment: dict[str, Any], seen: dict[str, Any], news: bool
) -> None:
    """Another status, an id, or funds on their way are news; the same again is not."""
    assert tells_news(replace(PAYMENT, **payment), replace(OPEN, **seen)) is news


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"currency": "usd"}, "currency"),
        ({"amount": 4501}, "amount"),
        ({"captured_amount": 4499}, "amount-received"),
        ({"captured_amount": 4501}, "amount-received"),
        ({"captured_amount": 0}, "amount-received"),
        ({"captured_amount": -1}, "amount-received"),
        ({"captured_amount": 0, "status": "processing"}, None),
    ],
)
def test_the_gate_names_what_does_not_fit(changed: dict[str, Any], reason: str | None) -> None:
    """Currency, amount and amount received must be those of the payment that we asked for."""
    assert reason_to_quarantine(PAYMENT, replace(PAID, **changed)) == reason


@pytest.mark.parametrize(
    ("livemode", "account", "ours", "reason"),
    [
        (False, None, "acct_ours", None),
        (False, "acct_ours", "acct_ours", None),
        (True, None, "acct_ours", "livemode"),
        (False, "acct_theirs", "acct_ours", "account"),
        (False, "acct_theirs", None, "account"),
    ],
)
def test_what_is_meant_for_us_is_of_our_mode_and_account(
    livemode: bool, account: str | None, ours: str | None, reason: str | None
) -> None:
    """Where no account of ours is configured, an event that names one is not ours."""
    assert reason_not_ours(livemode=livemode, account=account, our_livemode=False, our_account=ours) == reason


def _apply(payment: Payment, hold: Hold, seen: Observation) -> tuple[Payment, Hold]:
    """The effect of one observation on the facts, as the database writes it."""
    match decide(payment, hold, seen).action:
        case Action.CONFIRM | Action.SEAT_AGAIN_OR_REFUND:
            hold = replace(hold, status="completed", booked_by=payment.id)
        case Action.CANCEL if hold.status == "active":
            payment, hold = replace(payment, canceled=True), replace(hold, status="expired")
        case _:
            pass
    return replace(payment, captured_amount=max(payment.captured_amount, seen.captured_amount)), hold


@given(st.lists(st.sampled_from([OPEN, PAID, CANCELED, replace(OPEN, awaits_funds=True)]), max_size=6))
def test_order_and_duplicates_do_not_matter(seen: list[Observation]) -> None:
    """However what Stripe said is ordered and repeated, a payment that was paid ends booked, once."""
    for order in set(permutations(seen[:4])):
        payment, hold = PAYMENT, ACTIVE
        placed = 0
        for observation in (*order, *order):
            placed += decide(payment, hold, observation).action in (
                Action.CONFIRM,
                Action.SEAT_AGAIN_OR_REFUND,
            )
            payment, hold = _apply(payment, hold, observation)
        assert placed == (1 if PAID in order else 0)
