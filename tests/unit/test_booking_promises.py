"""Of bookings, credits and what comes back: each thing that must not be is seen, and what may be is not."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from local.booking_promises import cancelled_by_policy, credits_spent_once, uncharged_where_unpaid
from local.records import Records

type Row = Mapping[str, Any]


def booking(method: str = "credits", **changes: object) -> Row:
    """A confirmed booking of ada's: 2 credits, or 45.00 EUR."""
    price = 2 if method == "credits" else 0
    return {
        "id": f"by {method}",
        "reservation_id": f"hold {method}",
        "status": "confirmed",
        "payment_method": method,
        "payment_status": "paid",
        "amount": 0 if price else 4500,
        "currency": "eur",
        "user_id": "ada",
        "credits": price,
        "credits_price": price,
        "was_cancelled": False,
        "refundable_percent": 100,
        "payment_intent_id": "pi_1" if method == "pay_now" else None,
    } | changes


def cancelled(method: str = "credits", percent: int = 100, **changes: object) -> Row:
    given = {
        "status": "cancelled",
        "was_cancelled": True,
        "refundable_percent": percent,
        "payment_status": "refunded",
    }
    return booking(method, **{**given, **changes})


def entry(kind: str, delta: int) -> Row:
    of = "by credits" if kind in ("spend", "return") else None
    return {"user_id": "ada", "grant_id": "g", "booking_id": of, "kind": kind, "delta": delta}


def refund(amount: int, reason: str = "booking-cancelled", status: str = "succeeded") -> Row:
    return {"payment_intent_id": "pi_1", "amount": amount, "reason": reason, "status": status}


def records(
    *bookings: Row,
    entries: Sequence[Row] = (),
    balance: int | None = None,
    remaining: int | None = None,
    refunds: Sequence[Row] = (),
    intents: Mapping[str, Row] | None = None,
) -> Records:
    sum_of_entries = sum(each["delta"] for each in entries)
    user = {
        "user_id": "ada",
        "balance": sum_of_entries if balance is None else balance,
        "remaining": sum_of_entries if remaining is None else remaining,
    }
    return Records(
        slots=(), holds={}, credit_users=[user], credit_entries=entries, closed_slots=(), payments=(),
        bookings=bookings, refunds=refunds, events=(), overdue_effects=0, violations=(), intents=intents or {},
        sessions=(), stripe_refunds=(), disputes=(),
    )  # fmt: skip


BOUGHT = [entry("grant", 5), entry("spend", -2)]
RETURNED = [*BOUGHT, entry("return", 2)]


@pytest.mark.parametrize(
    ("found", "held"),
    [
        pytest.param(records(booking(), entries=BOUGHT), True, id="well"),
        pytest.param(records(cancelled(), entries=RETURNED), True, id="returned"),
        pytest.param(records(booking(), entries=BOUGHT, balance=4), False, id="balance"),
        pytest.param(records(booking(), entries=BOUGHT, remaining=2), False, id="remaining"),
        pytest.param(records(entries=BOUGHT), False, id="spent for nothing"),
        pytest.param(records(booking(), entries=[*BOUGHT, entry("spend", -2)]), False, id="spent twice"),
        pytest.param(records(booking(), entries=BOUGHT[:1]), False, id="never spent"),
        pytest.param(records(booking(credits=1), entries=BOUGHT), False, id="another price"),
        pytest.param(records(booking(user_id="bob"), entries=BOUGHT), False, id="another's credits"),
    ],
)
def test_credits_are_spent_once(found: Records, held: bool) -> None:
    """The balance is the sum of its entries and of what remains; a booking has spent its price, once."""
    assert credits_spent_once(found).held is held


@pytest.mark.parametrize(
    ("found", "held"),
    [
        pytest.param(records(cancelled(), entries=RETURNED), True, id="credits"),
        pytest.param(
            records(cancelled(percent=50), entries=[*BOUGHT, entry("return", 1)]), True, id="half of them"
        ),
        pytest.param(records(cancelled("pay_now"), refunds=[refund(4500)]), True, id="money"),
        pytest.param(records(cancelled("pay_now", 33), refunds=[refund(1485)]), True, id="a share"),
        pytest.param(
            records(cancelled("pay_now", 33, currency="isk"), refunds=[refund(1400)]), True, id="whole units"
        ),
        pytest.param(records(cancelled("pay_now", 0)), True, id="too late"),
        pytest.param(
            records(cancelled("pay_now"), refunds=[refund(1000, "by-hand: sorry"), refund(3500)]),
            True,
            id="what is left",
        ),
        pytest.param(records(cancelled(), entries=BOUGHT), False, id="no credits"),
        pytest.param(records(cancelled(percent=50), entries=RETURNED), False, id="too many credits"),
        pytest.param(records(booking(), entries=RETURNED), False, id="credits and a seat"),
        pytest.param(records(cancelled("pay_now")), False, id="no money"),
        pytest.param(records(cancelled("pay_now"), refunds=[refund(4499)]), False, id="too little"),
        pytest.param(records(cancelled("pay_now", 50), refunds=[refund(2251)]), False, id="too much"),
        pytest.param(
            records(cancelled("pay_now"), refunds=[refund(4500, status="canceled")]), False, id="never sent"
        ),
        pytest.param(records(booking("pay_now"), refunds=[refund(4500)]), False, id="money and a seat"),
        pytest.param(records(cancelled("pay_on_arrival", payment_status="pending")), False, id="still owed"),
        pytest.param(records(cancelled("pay_on_arrival", status="confirmed")), False, id="not ended"),
    ],
)
def test_a_cancelled_booking_gives_back_its_share(found: Records, held: bool) -> None:
    """No more and no less, and nothing while the booking stands."""
    assert cancelled_by_policy(found).held is held


def intent(received: int) -> Mapping[str, Row]:
    made = {"id": "pi_1", "metadata": {"holdfast_reservation_id": "hold free"}, "amount_received": received}
    return {"pi_1": made}


@pytest.mark.parametrize(
    ("found", "held"),
    [
        pytest.param(records(booking("pay_on_arrival"), booking("free", amount=0)), True, id="well"),
        pytest.param(records(booking("free", amount=0), intents=intent(0)), True, id="never paid"),
        pytest.param(
            records(
                booking("free", amount=0), intents=intent(4500), refunds=[refund(4500, "booked-otherwise")]
            ),
            True,
            id="paid, and sent back",
        ),
        pytest.param(records(booking("free", amount=0), intents=intent(4500)), False, id="charged"),
        pytest.param(records(booking("credits", amount=4500)), False, id="two prices"),
        pytest.param(
            records(booking("pay_on_arrival", payment_intent_id="pi_1")), False, id="a payment of its own"
        ),
    ],
)
def test_who_books_by_other_means_is_not_charged(found: Records, held: bool) -> None:
    """Money that came for such a hold all the same has gone back."""
    assert uncharged_where_unpaid(found).held is held
