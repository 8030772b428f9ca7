"""Many calls to pay for, to end and to confirm one hold, at the same moment."""

import json
from collections import Counter
from uuid import UUID

import pytest
import stripe

from domain.refusals import (
    AlreadyPaid,
    PaymentProviderUnavailable,
    Refusal,
    RequestInProgress,
    ReservationCancelled,
)
from functions.create_payment_intent.service import Answered
from tests.concurrency.guards import execute, rewrite_function, shows
from tests.concurrency.shop import Shop
from tests.concurrency.till import Till

CALLS = 50


def fifty_clicks(shop: Shop, till: Till, hold_id: UUID, *keys: str) -> list[Answered | Exception]:
    return shop.at_once(CALLS, lambda number: till.pay(hold_id, keys[number % len(keys)]))


def take_the_guards_out(shop: Shop) -> None:
    """No lock on payment and hold, no lease, no unique live payment, no unique key."""
    rewrite_function(
        shop.owner_url,
        "begin_payment",
        ("AND canceled_at IS NULL FOR NO KEY UPDATE", "AND canceled_at IS NULL"),
        ("WHERE id = p_reservation_id FOR NO KEY UPDATE", "WHERE id = p_reservation_id"),
        ("v_payment.id IS NULL AND v_hold.payment_id IS NOT NULL", "false"),
        (
            "(v_payment.lease_owner = p_payment_id::text) IS NOT TRUE AND v_payment.lease_until > v_now",
            "false",
        ),
    )
    execute(shop.owner_url, "DROP INDEX payments_one_live_a_reservation")


def test_a_double_click_is_one_payment(shop: Shop, till: Till) -> None:
    """Same key, same body, fifty at once: one intent at Stripe, one 201, the rest 409 or the same bytes again."""
    hold_id = shop.hold({shop.slot(units=5): 1})["id"]

    answers = fifty_clicks(shop, till, hold_id, "click")

    made = [answer for answer in answers if isinstance(answer, Answered)]
    first = [answer for answer in made if not answer.replayed]
    assert [answer.status for answer in first] == [201]
    assert {answer.body for answer in made} == {first[0].body}
    assert {type(answer) for answer in answers} <= {Answered, RequestInProgress}
    assert len(till.intents(hold_id)) == 1
    again = till.pay(hold_id, "click")
    assert again.replayed
    assert again.body == first[0].body
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_two_tabs_share_one_payment(shop: Shop, till: Till) -> None:
    """Two keys for one hold, fifty calls at once: one live intent, and everybody who is answered gets that one."""
    hold_id = shop.hold({shop.slot(units=5): 1})["id"]

    answers = fifty_clicks(shop, till, hold_id, "tab-one", "tab-two")

    made = [json.loads(answer.body) for answer in answers if isinstance(answer, Answered)]
    assert len({answer["payment_intent_id"] for answer in made}) == 1
    assert {type(answer) for answer in answers} <= {Answered, RequestInProgress}
    assert len(till.intents(hold_id)) == 1
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_lock_and_lease_two_tabs_are_two_payments(shop: Shop, till: Till) -> None:
    """Negative control: without the hold's lock, the lease and the unique index, Stripe has several intents."""
    take_the_guards_out(shop)

    def race() -> bool:
        hold_id = shop.hold({shop.slot(units=5): 1})["id"]
        fifty_clicks(shop, till, hold_id, f"one-{hold_id}", f"two-{hold_id}")
        return len(till.intents(hold_id)) > 1

    assert shows(race)


ROUNDS = [
    pytest.param(24, id="short"),
    pytest.param(1000, id="long", marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
]


def cancel_pay_and_confirm(shop: Shop, till: Till) -> tuple[UUID, list[str | Exception]]:
    """A hold that is paid, given up and paid for anew at once, and what each of the three was told."""
    hold_id = shop.hold({shop.slot(units=1): 1})["id"]
    intent_id = json.loads(till.pay(hold_id, "first").body)["payment_intent_id"]

    def confirm() -> str:
        try:
            return till.tell(till.confirm(intent_id))
        except stripe.InvalidRequestError:
            return "too late"

    def cancel() -> str:
        till.cancel(hold_id)
        return "cancelled"

    def pay_again() -> str:
        return f"{till.pay(hold_id, 'second').status}"

    return hold_id, shop.all_at_once([confirm, cancel, pay_again])


@pytest.mark.parametrize("rounds", ROUNDS)
def test_cancelling_paying_and_confirming_at_once_end_in_one_way(shop: Shop, till: Till, rounds: int) -> None:
    """DELETE against pay against the success webhook: cancelled and nothing paid, or paid and booked. Never both."""
    ends = Counter[str]()
    for _ in range(rounds):
        hold_id, (confirmed, cancelled, paid_again) = cancel_pay_and_confirm(shop, till)

        status = shop.status(hold_id)
        ends[status] += 1
        assert confirmed in ("processed", "stale", "too late")
        assert cancelled == "cancelled" or isinstance(cancelled, AlreadyPaid | PaymentProviderUnavailable)
        assert paid_again == "200" or isinstance(
            paid_again, RequestInProgress | AlreadyPaid | ReservationCancelled | PaymentProviderUnavailable
        )
        succeeded = [intent for intent in till.intents(hold_id) if intent.status == "succeeded"]
        assert len(succeeded) == (1 if status == "completed" else 0)
        if cancelled == "cancelled":
            assert status == "cancelled"
    assert sum(ends.values()) == rounds
    assert shop.violations() == []
    assert shop.deadlocks() == 0
    assert not [refused for refused in ends if issubclass(type(refused), Refusal)]


def test_control_a_cancellation_that_does_not_ask_stripe_is_paid_nevertheless(shop: Shop, till: Till) -> None:
    """Negative control: where a hold is given up although its payment is open, it is cancelled, and paid."""
    rewrite_function(
        shop.owner_url, "begin_close", ("ELSIF v_hold.payment_id IS NULL THEN", "ELSIF true THEN")
    )

    def race() -> bool:
        hold_id, _ = cancel_pay_and_confirm(shop, till)
        paid = any(intent.status == "succeeded" for intent in till.intents(hold_id))
        return paid and shop.status(hold_id) == "cancelled"

    assert shows(race)
