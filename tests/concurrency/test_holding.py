"""Many buyers want the same seats at the same moment."""

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.errors import CheckViolation, DeadlockDetected

from functions.reservations import service as reserving
from functions.reservations.requests import HoldRequest
from tests.concurrency.guards import execute, rewrite_function, sell_what_is_not_there, shows
from tests.concurrency.shop import CONTEXT, Shop
from tests.concurrency.till import Till

BUYERS = 100
SLOT_LOCK = "PERFORM 1 FROM slots WHERE id = ANY (v_locked) ORDER BY id FOR NO KEY UPDATE;"
LAST_ONES = [
    pytest.param({"units": 1, "bookings": 100}, 1, id="last-unit"),
    pytest.param({"units": 400, "bookings": 1}, 4, id="last-booking"),
    pytest.param({"units": 1, "bookings": 1}, 1, id="one-appointment"),
]


def outcomes(answers: Sequence[object]) -> Counter[str]:
    """How often each outcome was answered; what was raised counts by its name."""
    return Counter(
        answer["outcome"] if isinstance(answer, dict) else type(answer).__name__ for answer in answers
    )


def race_for(shop: Shop, slot: UUID, units: int) -> Counter[str]:
    return outcomes(shop.at_once(BUYERS, lambda _: shop.hold({slot: units})))


@pytest.mark.parametrize(("capacity", "units"), LAST_ONES)
def test_of_a_hundred_buyers_one_gets_the_last_one(shop: Shop, capacity: dict[str, int], units: int) -> None:
    """A hundred buyers at once for the last one: one hold, ninety-nine clean refusals, nothing held besides."""
    slot = shop.slot(**capacity)

    assert race_for(shop, slot, units) == {"held": 1, "sold-out": BUYERS - 1}

    assert shop.rows("SELECT held_units, held_bookings FROM slots WHERE id = %s", slot) == [(units, 1)]
    assert shop.value("SELECT count(*) FROM customers") == 1
    assert shop.violations() == []
    assert shop.deadlocks() == 0


@pytest.mark.parametrize(("capacity", "units"), LAST_ONES)
def test_control_without_the_slots_lock_the_last_one_is_held_twice(
    shop: Shop, capacity: dict[str, int], units: int
) -> None:
    """Negative control: without the lock on the slot, and the constraint behind it, the last one is held twice."""
    rewrite_function(shop.owner_url, "reserve_tickets", (SLOT_LOCK, ""))
    sell_what_is_not_there(shop.owner_url)

    assert shows(lambda: race_for(shop, shop.slot(**capacity), units)["held"] > 1)
    assert ("slot sells what it has",) in {row[:1] for row in shop.violations()}


def test_control_without_the_lock_the_constraint_still_refuses(shop: Shop) -> None:
    """Without the lock alone nothing is held twice either: the constraint refuses, if less politely."""
    rewrite_function(shop.owner_url, "reserve_tickets", (SLOT_LOCK, ""))

    def race() -> bool:
        seen = race_for(shop, shop.slot(units=1, bookings=100), 1)
        assert seen["held"] == 1
        return CheckViolation.__name__ in seen

    assert shows(race)
    assert shop.violations() == []


def cross_over(shop: Shop, rounds: int) -> Counter[str]:
    """Holds of [1, 2] against holds of [2, 1], without end; every hold is let go again."""
    one, two = sorted([shop.slot(units=10), shop.slot(units=10)])

    def cross(number: int) -> Counter[str]:
        seen = Counter[str]()
        wanted = {one: 1, two: 1} if number % 2 else {two: 1, one: 1}
        for _ in range(rounds // 8):
            answer = shop.hold(wanted)
            seen[answer["outcome"]] += 1
            if answer["outcome"] == "held":
                shop.connection().execute("SELECT begin_close(%s, 'cancelled', '1 second')", [answer["id"]])
        return seen

    total = Counter[str]()
    for answer in shop.at_once(8, cross):
        total += answer if isinstance(answer, Counter) else Counter([type(answer).__name__])
    return total


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(2000, id="short"),
        pytest.param(20_000, id="long", marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
)
def test_crossed_wishes_never_deadlock(shop: Shop, rounds: int) -> None:
    """A wants [1, 2] and B wants [2, 1], over and over: no deadlock, and each gets both or nothing."""
    seen = cross_over(shop, rounds)

    assert set(seen) <= {"held", "sold-out"}, seen
    assert seen["held"] > 0
    assert shop.deadlocks() == 0
    assert shop.violations() == []
    assert shop.value("SELECT max(held_units) FROM slots") == 0


def test_control_slots_locked_as_they_are_named_deadlock(shop: Shop) -> None:
    """Negative control: where the slots are locked in the order in which they are named, the same wishes deadlock."""
    as_named = "PERFORM (SELECT 1 FROM slots s WHERE s.id = wanted FOR NO KEY UPDATE) FROM unnest(v_locked) AS wanted;"
    rewrite_function(shop.owner_url, "reserve_tickets", (SLOT_LOCK, as_named))
    assert shows(lambda: DeadlockDetected.__name__ in cross_over(shop, 400))
    assert shop.deadlocks() > 0


def fifty_holds_of_one_buyer(shop: Shop) -> Counter[str]:
    slot, email = shop.slot(units=50), shop.buyer()
    return outcomes(shop.at_once(50, lambda _: shop.hold({slot: 1}, email=email)))


def test_a_customer_never_has_more_than_five_holds(shop: Shop) -> None:
    """Fifty calls of one customer at once: exactly five are granted."""
    assert fifty_holds_of_one_buyer(shop) == {"held": 5, "too-many-holds": 45}
    assert shop.violations() == []


def test_control_without_the_customers_lock_the_limit_is_passed(shop: Shop) -> None:
    """Negative control: where the customer's row is no queue, more than five are granted."""
    rewrite_function(
        shop.owner_url,
        "reserve_tickets",
        (
            """
            ON CONFLICT (lower(email)) DO UPDATE SET phone = coalesce(c.phone, excluded.phone)
            RETURNING c.id, c.xmax = 0 INTO v_customer, v_new_customer;
            """,
            "ON CONFLICT DO NOTHING; SELECT id INTO v_customer FROM customers WHERE lower(email) = lower(p_email);",
        ),
    )
    assert shows(lambda: fifty_holds_of_one_buyer(shop)["held"] > 5)


def fifty_calls_under_one_key(shop: Shop, *, units: int = 50) -> list[object]:
    slot, email = shop.slot(units=units), shop.buyer()
    return list(shop.at_once(50, lambda _: shop.hold({slot: 1}, email=email, key="0123456789abcdef")))


def test_calls_under_one_key_are_one_hold(shop: Shop) -> None:
    """Fifty calls under one key at once: one hold, and the others get its answer byte for byte."""
    answers = fifty_calls_under_one_key(shop)

    assert outcomes(answers) == {"held": 1, "replayed": 49}
    assert len({answer["answer"] for answer in answers if isinstance(answer, dict)}) == 1
    assert shop.value("SELECT count(*) FROM ticket_reservations") == 1
    assert shop.violations() == []


def test_control_without_the_stored_answer_one_key_is_several_holds(shop: Shop) -> None:
    """Negative control: where the key is not looked up in the customer's queue, one key makes several holds."""
    rewrite_function(shop.owner_url, "known_answer", ("AND key = p_key", "AND false"))
    execute(shop.owner_url, "ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_pkey")
    assert shows(lambda: outcomes(fifty_calls_under_one_key(shop))["held"] > 1)


def test_calls_under_one_key_for_the_last_seat_are_all_told_of_their_hold(shop: Shop) -> None:
    """Whoever clicks twice and gets the last seat is never told that it is sold out: it is sold to that click."""
    for _ in range(10):
        assert outcomes(fifty_calls_under_one_key(shop, units=1)) == {"held": 1, "replayed": 49}


def test_control_without_a_second_look_the_last_seat_is_sold_out_to_its_own_buyer(shop: Shop) -> None:
    """Negative control: where a refusal is not held against the key once more, a double click loses its own seat."""
    known = "coalesce(known_answer(v_scope, p_key, p_request_hash, p_reservation_id), sold_out(v_slots))"
    rewrite_function(shop.owner_url, "reserve_tickets", (known, "sold_out(v_slots)"))
    assert shows(lambda: "sold-out" in outcomes(fifty_calls_under_one_key(shop, units=1)))


def hold_what_the_dead_have(shop: Shop) -> tuple[list[UUID], Counter[str]]:
    """The holds of a full slot, all of them over, and what fifty buyers at once were told."""
    slot = shop.slot(units=20)
    old = [shop.hold({slot: 1})["id"] for _ in range(20)]
    shop.expire(*old)

    def buy(_: int) -> dict[str, Any]:
        answer = shop.hold({slot: 1})
        while answer["outcome"] == "sold-out" and answer["left"][0]["units_left"] > 0:
            answer = shop.hold(
                {slot: 1}
            )  # as `reservations` does: the dead are just being released by another
        return answer

    return old, outcomes(shop.at_once(50, buy))


def test_holders_of_a_full_slot_leave_and_others_take_it(shop: Shop) -> None:
    """A slot full of holds that are over goes to new buyers at once, each seat once, whoever comes first."""
    old, seen = hold_what_the_dead_have(shop)

    assert seen == {"held": 20, "sold-out": 30}
    assert {shop.status(hold) for hold in old} == {"expired"}
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_the_dead_holds_lock_their_seats_are_held_twice(shop: Shop) -> None:
    """Negative control: where two buyers release the same dead holds, more is held than there is."""
    rewrite_function(shop.owner_url, "reserve_tickets", ("FOR NO KEY UPDATE SKIP LOCKED", ""))
    sell_what_is_not_there(shop.owner_url)
    assert shows(lambda: hold_what_the_dead_have(shop)[1]["held"] > 20)


def test_seats_that_somebody_is_just_giving_back_are_waited_for(
    shop: Shop, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead hold that another caller has in its hands is no reason to say sold out: its seats come in a moment."""
    slot = shop.slot(units=1)
    dead = shop.hold({slot: 1})["id"]
    shop.expire(dead)
    request = HoldRequest.model_validate(
        {"items": [{"slot_id": slot, "units": 1}], "customer": {"email": shop.buyer(), "name": "Ada"}}
    )
    with psycopg.connect(shop.owner_url) as other:
        other.execute("SELECT FROM ticket_reservations WHERE id = %s FOR NO KEY UPDATE", [dead])
        monkeypatch.setattr(reserving, "time", SimpleNamespace(sleep=lambda _: other.rollback()))
        granted, _ = reserving.hold(request, None, CONTEXT)

    assert granted["status"] == "active"
    assert shop.violations() == []
