"""A person is forgotten while they are buying."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from scripts import forget_person
from scripts.forget_person import StillOpen, forget
from tests.concurrency.guards import rewrite_function
from tests.concurrency.shop import Shop

EMAIL = "ada@example.com"
HOLD = "SELECT reserve_tickets(gen_random_uuid(), %s, 'Ada', NULL, jsonb_build_array(jsonb_build_object('slot_id', %s::uuid, 'units', 1)))"
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


def known_customer(shop: Shop) -> str:
    """Has held before, and holds nothing now; answers the slot."""
    slot = shop.slot(units=5)
    shop.hold({slot: 1}, email=EMAIL)
    shop.rows("SELECT release_holds(array_agg(id), 'expired') FROM ticket_reservations")
    return str(slot)


def until_it_waits(shop: Shop, running: Future[Any]) -> None:
    give_up_at = time.monotonic() + 50
    while not running.done() and not shop.value(WAITING) and time.monotonic() < give_up_at:
        time.sleep(0.005)


def forgotten_while_a_hold_is_made(shop: Shop) -> bool:
    """Whether they were, by who came while the hold was not committed yet."""
    slot = known_customer(shop)

    def act() -> bool:
        with psycopg.connect(shop.owner_url, autocommit=True) as owner:
            try:
                forget(owner, EMAIL)
            except StillOpen:
                return False
        return True

    with psycopg.connect(shop.app_url) as buyer, ThreadPoolExecutor(1) as operator:
        buyer.execute(HOLD, [EMAIL, slot])
        running = operator.submit(act)
        until_it_waits(shop, running)
        buyer.commit()
        return running.result()


def test_nobody_is_forgotten_while_their_hold_is_being_made(shop: Shop) -> None:
    """Who forgets waits for the hold, and then sees it."""
    assert not forgotten_while_a_hold_is_made(shop)
    assert shop.rows("SELECT email FROM customers") == [(EMAIL,)]


def test_control_without_the_customers_lock_a_buyer_is_forgotten(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: who does not wait before looking forgets somebody who holds seats."""
    monkeypatch.setattr(forget_person, "LOCK", "SELECT %s")
    assert forgotten_while_a_hold_is_made(shop)
    assert shop.rows(
        "SELECT r.status, c.name FROM ticket_reservations r JOIN customers c ON c.id = r.customer_id WHERE r.status = 'active'"
    ) == [("active", "Forgotten")]


def hold_while_they_are_forgotten(shop: Shop) -> str:
    """The address under which the hold then stands."""
    slot = known_customer(shop)

    def act() -> None:
        with psycopg.connect(shop.app_url, autocommit=True) as buyer:
            buyer.execute(HOLD, [EMAIL, slot])

    with psycopg.connect(shop.owner_url) as owner, ThreadPoolExecutor(1) as crowd:
        owner.execute("SELECT")  # a transaction of this test's own, so that `forget` does not commit
        forget(owner, EMAIL)
        running = crowd.submit(act)
        until_it_waits(shop, running)
        owner.commit()
        running.result()
    return shop.value(
        "SELECT c.email FROM ticket_reservations r JOIN customers c ON c.id = r.customer_id WHERE r.status = 'active'"
    )


def test_who_holds_while_they_are_forgotten_is_a_new_customer(shop: Shop) -> None:
    """The hold waits, finds the address gone, and begins anew under it."""
    assert hold_while_they_are_forgotten(shop) == EMAIL
    assert shop.value("SELECT count(*) FROM customers WHERE name = 'Forgotten'") == 1
    assert shop.violations() == []


def test_control_a_hold_that_only_looks_for_its_customer_is_a_forgotten_ones(shop: Shop) -> None:
    """Negative control: where the customer's row is not waited for, the hold is that of a person who has no name."""
    rewrite_function(
        shop.owner_url,
        "reserve_tickets",
        (
            "INSERT INTO customers AS c",
            "SELECT id INTO v_customer FROM customers WHERE lower(email) = lower(p_email); IF NOT FOUND THEN INSERT INTO customers AS c",
        ),
        ("INTO v_customer, v_new_customer;", "INTO v_customer, v_new_customer; END IF;"),
    )
    assert hold_while_they_are_forgotten(shop).endswith("@forgotten.invalid")
