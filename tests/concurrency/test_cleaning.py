"""Several clean-ups at once, and one that dies."""

import json
from typing import Any
from uuid import UUID

from tests.concurrency.guards import rewrite_function, sell_what_is_not_there, shows
from tests.concurrency.shop import Shop
from tests.concurrency.till import Till

UNPAID, WITH_PAYMENT = 60, 20


def dead_holds(shop: Shop, till: Till) -> tuple[list[UUID], list[str]]:
    """Holds that are over, in slots that several of them share, and the intents of those that have a payment."""
    slots = [shop.slot(units=200) for _ in range(3)]
    holds = [
        shop.hold({slots[number % 3]: 1, slots[(number + 1) % 3]: 2})["id"]
        for number in range(UNPAID + WITH_PAYMENT)
    ]
    intents = [json.loads(till.pay(hold, None).body)["payment_intent_id"] for hold in holds[UNPAID:]]
    shop.expire(*holds)
    return holds, intents


def clean_up_together(shop: Shop, till: Till, runs: int) -> list[dict[str, Any] | Exception]:
    return shop.at_once(runs, lambda _: till.clean_up())


def test_clean_ups_at_once_end_each_hold_once(shop: Shop, till: Till) -> None:
    """Four clean-ups at once share the work: each hold is released once, and the counts are exact."""
    holds, intents = dead_holds(shop, till)

    results = clean_up_together(shop, till, 4)

    assert not [result for result in results if isinstance(result, Exception)], results
    assert sum(result["released"] for result in results if isinstance(result, dict)) == len(holds)
    assert {shop.status(hold) for hold in holds} == {"expired"}
    assert {till.stripe.payment_intents.retrieve(intent).status for intent in intents} == {"canceled"}
    assert shop.rows("SELECT DISTINCT held_units, held_bookings FROM slots") == [(0, 0)]
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_the_holds_lock_a_hold_is_released_twice(shop: Shop, till: Till) -> None:
    """Negative control: where a clean-up does not lock what it releases, two give the same seats back."""
    rewrite_function(shop.owner_url, "cleanup_expired_reservations", ("FOR NO KEY UPDATE SKIP LOCKED", ""))
    sell_what_is_not_there(shop.owner_url)

    def race() -> bool:
        slot = shop.slot(units=200)
        shop.expire(*[shop.hold({slot: 1})["id"] for _ in range(30)])
        clean_up_together(shop, till, 8)
        return bool(shop.violations())

    assert shows(race)
    assert {row[0] for row in shop.violations()} == {"slot counts its holds"}


def test_what_a_dead_clean_up_leaves_the_next_one_ends(shop: Shop, till: Till) -> None:
    """A clean-up whose connection is cut half way has released nothing or all: the next one ends exactly the rest."""
    holds, _ = dead_holds(shop, till)
    dying = shop.connection()
    dying.execute("BEGIN")
    dying.execute("SELECT cleanup_expired_reservations(25)")
    assert shop.value("SELECT pg_terminate_backend(%s, 10000)", dying.info.backend_pid), (
        "it still holds its locks"
    )

    results = clean_up_together(shop, till, 2)

    assert sum(result["released"] for result in results if isinstance(result, dict)) == len(holds)
    assert {shop.status(hold) for hold in holds} == {"expired"}
    assert shop.violations() == []


def test_a_lease_that_was_left_behind_is_taken_over(shop: Shop, till: Till) -> None:
    """A clean-up that died at Stripe leaves its leases: while they last nobody asks, then each hold is ended once."""
    holds, _ = dead_holds(shop, till)
    shop.rows("SELECT claim_payments_to_close(8, '45 seconds')")

    before = till.clean_up()
    shop.rows("UPDATE payment_intents_log SET lease_until = now()")
    after = till.clean_up()

    assert (before["released"], after["released"]) == (len(holds) - 8, 8)
    assert {shop.status(hold) for hold in holds} == {"expired"}
    assert shop.violations() == []
