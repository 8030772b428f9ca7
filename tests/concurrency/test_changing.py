"""Many who change bookings at once: cancel, move, refund, and Stripe's word about the same money."""

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from database import bookings, changing
from domain.booking import CancelPolicy
from domain.refusals import EventNotApplied
from tests.concurrency.guards import execute, rewrite_function, sell_what_is_not_there, shows
from tests.concurrency.shop import CONTEXT, LEASE, PRICE, Shop
from tests.concurrency.till import Till

POLICY = ((24, 100),)
WRITERS = 12


def booked(shop: Shop, slot: UUID) -> UUID:
    """A booking of one unit, paid; at version 1."""
    hold_id = shop.hold({slot: 1})["id"]
    assert shop.succeeded(shop.with_payment(hold_id)) == "processed"
    return shop.value("SELECT id FROM bookings WHERE reservation_id = %s", hold_id)


def cancel(shop: Shop, booking_id: UUID, version: int = 1, policy: CancelPolicy = POLICY) -> dict[str, Any]:
    """What `cancel_booking` answers, on this thread's bare connection."""
    return changing.cancel_booking(
        shop.connection(), booking_id, change_id=uuid4(), version=version, policy=policy, context=CONTEXT
    )


def move(shop: Shop, booking_id: UUID, slot: UUID, version: int = 1) -> dict[str, Any]:
    """What `reschedule_booking` answers, on this thread's bare connection."""
    return changing.reschedule_booking(
        shop.connection(),
        booking_id,
        change_id=uuid4(),
        version=version,
        item_id=None,
        slot_id=slot,
        policy=POLICY,
        context=CONTEXT,
    )


def refund(shop: Shop, booking_id: UUID, amount: int) -> dict[str, Any]:
    """What `refund_booking` answers, on this thread's bare connection."""
    return changing.refund_booking(
        shop.connection(),
        booking_id,
        refund_id=uuid4(),
        amount=amount,
        reason="asked",
        caller="admin",
        key=None,
        request_hash=None,
        context=CONTEXT,
    )


def outcomes(answers: Sequence[dict[str, Any] | Exception]) -> Counter[str]:
    """How often each outcome was answered; what was raised counts by its name."""
    return Counter(
        type(answer).__name__ if isinstance(answer, Exception) else answer["outcome"] for answer in answers
    )


def without_the_bookings_lock(shop: Shop) -> None:
    rewrite_function(shop.owner_url, "lock_booking", ("FOR NO KEY UPDATE", ""))
    sell_what_is_not_there(shop.owner_url)


def written_at_once(shop: Shop) -> list[dict[str, Any] | Exception]:
    """Some cancel a booking, some move it, all of them at the version that they have seen."""
    here, there = shop.slot(units=1), shop.slot(units=1)
    booking_id = booked(shop, here)
    acts = [partial(cancel, shop, booking_id), partial(move, shop, booking_id, there)] * (WRITERS // 2)
    random.shuffle(acts)
    return shop.all_at_once(acts)


def test_of_many_writers_of_one_version_one_writes(shop: Shop) -> None:
    """Cancelled or moved, once; everybody else hears the version that there is now."""
    for _ in range(5):
        answers = written_at_once(shop)
        done = [answer for answer in answers if isinstance(answer, dict) and "answer" in answer]
        refused = [answer for answer in answers if answer not in done]
        assert len(done) == 1
        assert refused == [{"outcome": "version-conflict", "version": 2}] * (WRITERS - 1)
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_the_bookings_lock_several_write_one_version(shop: Shop) -> None:
    """Negative control: where nobody waits for the row, several find the version that they have seen."""
    without_the_bookings_lock(shop)

    def race() -> bool:
        done = [answer for answer in written_at_once(shop) if isinstance(answer, dict) and "answer" in answer]
        return len(done) > 1

    assert shows(race)


def swapped_forever(shop: Shop, *, times: int) -> list[str]:
    """Two bookings change places again and again while others hold both slots; what was raised."""
    one, two = (shop.slot(units=20) for _ in range(2))
    bookings = [(booked(shop, one), [two, one]), (booked(shop, two), [one, two])]

    def swap(booking_id: UUID, there_and_back: list[UUID]) -> None:
        for number in range(times):
            moved = move(shop, booking_id, there_and_back[number % 2], number + 1)
            assert moved["outcome"] == "rescheduled", moved

    def hold(wanted: list[UUID]) -> None:
        for _ in range(times // 2):
            held = shop.hold(dict.fromkeys(wanted, 1))
            assert held["outcome"] == "held", held
            shop.expire(held["id"])

    acts: list[Callable[[], None]] = [partial(swap, *booking) for booking in bookings]
    acts += [partial(hold, [one, two]), partial(hold, [two, one])]
    return [repr(answer) for answer in shop.all_at_once(acts) if answer is not None]


def test_bookings_that_swap_their_slots_never_deadlock(shop: Shop) -> None:
    """One goes from here to there and one from there to here, beside holds of both: none is refused, none breaks."""
    assert swapped_forever(shop, times=30) == []
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_slots_locked_from_old_to_new_deadlock(shop: Shop) -> None:
    """Negative control: where a move locks its own slot first, two that swap wait for each other."""
    all_at_once = "PERFORM 1 FROM slots WHERE id = ANY (v_slots)"
    its_own_first = (
        "PERFORM 1 FROM slots WHERE id = v_item.slot_id FOR NO KEY UPDATE; PERFORM pg_sleep(0.02);"
    )
    rewrite_function(shop.owner_url, "reschedule_booking", (all_at_once, f"{its_own_first} {all_at_once}"))
    assert shows(lambda: any("DeadlockDetected" in raised for raised in swapped_forever(shop, times=10)))


def last_seat_wanted(shop: Shop) -> Counter[str]:
    """One unit is free: some bookings would move there, some buyers would hold it."""
    here, last = shop.slot(units=WRITERS), shop.slot(units=1)
    bookings = [booked(shop, here) for _ in range(WRITERS // 2)]
    acts = [partial(move, shop, booking_id, last) for booking_id in bookings]
    acts += [partial(shop.hold, {last: 1}) for _ in range(WRITERS // 2)]
    random.shuffle(acts)
    return outcomes(shop.all_at_once(acts))


def test_the_last_seat_goes_to_one_mover_or_holder(shop: Shop) -> None:
    """One gets it, the others hear that it is gone, and keep what they had."""
    for _ in range(3):
        found = last_seat_wanted(shop)
        assert found["sold-out"] == WRITERS - 1, found
        assert found["rescheduled"] + found["held"] == 1
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_the_slots_lock_the_last_seat_is_taken_twice(shop: Shop) -> None:
    """Negative control: where a move looks at the slots without their locks, two find the same seat free."""
    rewrite_function(
        shop.owner_url,
        "reschedule_booking",
        ("WHERE id = ANY (v_slots) ORDER BY id FOR NO KEY UPDATE", "WHERE id = ANY (v_slots)"),
    )
    sell_what_is_not_there(shop.owner_url)

    def race() -> bool:
        last_seat_wanted(shop)
        return "slot sells what it has" in {row[0] for row in shop.violations()}

    assert shows(race)


def refunded_and_cancelled(shop: Shop) -> Counter[str]:
    """Several people give a third of the money back by hand while its buyer cancels."""
    booking_id = booked(shop, shop.slot(units=1))
    acts = [partial(refund, shop, booking_id, PRICE // 3) for _ in range(WRITERS)]
    acts.append(partial(cancel, shop, booking_id))
    random.shuffle(acts)
    return outcomes(shop.all_at_once(acts))


def test_refunds_by_hand_beside_a_cancel_come_to_what_was_paid(shop: Shop) -> None:
    """Three at most are granted, the cancel gives back the rest: all of the money goes back once."""
    for _ in range(4):
        found = refunded_and_cancelled(shop)
        assert found["cancelled"] == 1
        assert found["requested"] + found["refund-exceeds-paid"] == WRITERS
    assert set(shop.rows("SELECT sum(amount)::int FROM refunds GROUP BY payment_id")) == {(PRICE,)}
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_the_payments_lock_more_goes_back_than_came_in(shop: Shop) -> None:
    """Negative control: where what is left is reckoned without the payment's lock, it is given twice."""
    without_the_bookings_lock(shop)
    execute(shop.owner_url, "ALTER TABLE refunds DISABLE TRIGGER refunds_never_exceed_the_payment")

    def race() -> bool:
        refunded_and_cancelled(shop)
        return "refunds never exceed what was paid" in {row[0] for row in shop.violations()}

    assert shows(race)


def lost_while_cancelled(shop: Shop, till: Till, policy: CancelPolicy = POLICY) -> UUID:
    """A buyer cancels while their bank's dispute of the payment is lost; the slot."""
    slot = shop.slot(units=5)
    hold_id = shop.hold({slot: 1})["id"]
    intent_id: str = json.loads(till.pay(hold_id, None).body)["payment_intent_id"]
    assert till.tell(till.confirm(intent_id)) == "processed"
    booking_id, version = shop.rows("SELECT id, version FROM bookings WHERE reservation_id = %s", hold_id)[0]
    status, made = till.emulator.act("/disputes", payment_intent=intent_id)
    assert status == 200
    assert till.emulator.act(f"/disputes/{made['id']}", outcome="lost")[0] == 200
    listed = till.stripe.events.list({"limit": 100, "types": ["charge.dispute.closed"]}).auto_paging_iter()
    (lost,) = [event.to_dict() for event in listed if event.data.object["payment_intent"] == intent_id]

    def tell() -> dict[str, Any]:
        while True:
            try:
                return {"outcome": till.tell(lost)}
            except EventNotApplied:
                continue

    acts = [partial(cancel, shop, booking_id, version, policy), tell, tell]
    random.shuffle(acts)
    found = outcomes(shop.all_at_once(acts))
    assert found["processed"] == found["duplicate"] == 1, found
    assert found["cancelled"] + found["version-conflict"] + found["booking-not-active"] == 1, found
    return slot


def test_a_cancel_against_a_lost_dispute_gives_the_seats_back_once(shop: Shop, till: Till) -> None:
    """Cancelled stays cancelled, revoked stays revoked; no refund is sent beside the dispute."""
    for _ in range(6):
        slot = lost_while_cancelled(shop, till)
        assert shop.rows("SELECT sold_units, sold_bookings FROM slots WHERE id = %s", slot) == [(0, 0)]
    assert {row[0] for row in shop.rows("SELECT status FROM bookings")} <= {"cancelled", "revoked"}
    assert {row[0] for row in shop.rows("SELECT status FROM refunds")} <= {"canceled"}
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_the_payments_lock_the_seats_are_given_back_twice(shop: Shop, till: Till) -> None:
    """Negative control: where a cancel does not wait for the payment, a lost dispute gives its seats back again."""
    rewrite_function(
        shop.owner_url,
        "lock_booking",
        ("WHERE id = p_booking_id) FOR NO KEY UPDATE", "WHERE id = p_booking_id)"),
    )
    sell_what_is_not_there(shop.owner_url)

    def race() -> bool:
        lost_while_cancelled(shop, till, policy=())
        return "slot counts its bookings" in {row[0] for row in shop.violations()}

    assert shows(race)


def with_credits_cancelled_at_once(shop: Shop) -> int:
    """Many cancel a booking of three of its owner's ten credits; what they have then."""
    slot, user_id = shop.slot(units=1), shop.buyer()
    shop.rows("UPDATE offerings SET credits_price = 3")
    shop.rows("SELECT grant_credits(%s, 10, NULL, 'ten', 'test', %s, '')", user_id, user_id)
    booking_id = uuid4()
    booked = bookings.book_reservation(
        shop.connection(),
        booking_id=booking_id,
        reservation_id=shop.hold({slot: 1})["id"],
        payment_method="credits",
        user_id=user_id,
        lease=LEASE,
        key=None,
        request_hash="hash",
        context=CONTEXT,
    )
    assert booked["outcome"] == "booked", booked
    shop.at_once(WRITERS, lambda _: cancel(shop, booking_id))
    return shop.value("SELECT balance FROM user_credits WHERE user_id = %s", user_id)


def test_many_cancels_at_once_return_the_credits_once(shop: Shop) -> None:
    """Three were spent, three come back."""
    for _ in range(3):
        assert with_credits_cancelled_at_once(shop) == 10
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_its_guards_credits_are_returned_twice(shop: Shop) -> None:
    """Negative control: without the booking's lock, and where entries are not unique, each cancel returns them."""
    without_the_bookings_lock(shop)
    rewrite_function(shop.owner_url, "return_credits", ("AND kind = 'return')", "AND false)"))
    execute(
        shop.owner_url,
        "ALTER TABLE credit_entries DROP CONSTRAINT credit_entries_spend_and_return_once",
        "ALTER TABLE credit_grants DROP CONSTRAINT credit_grants_remain_within_their_amount",
    )
    assert shows(lambda: with_credits_cancelled_at_once(shop) > 10)
