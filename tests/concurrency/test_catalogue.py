"""The catalogue is changed while buyers hold: what a hold has read before its locks may be old when it has them."""

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from database.connection import call
from tests.concurrency.guards import rewrite_function, sell_what_is_not_there, shows
from tests.concurrency.shop import Shop
from tests.emulator_process import eventually

BUYERS = 40
IN_YEN = {
    "name": "Concert", "kind": "ticket", "unit_amount": 9900, "currency": "jpy", "timezone": "Europe/Vienna",
    "pay_on_arrival": False, "retired": False, "add_ons": [],
}  # fmt: skip


def lowered_while_held(shop: Shop) -> Counter[str]:
    """What is answered to buyers of a slot and to administrators who give it less and less room."""
    slot = shop.slot(units=BUYERS // 2)
    query = "SELECT set_slot_capacity(%s, %s, %s)"

    def act(number: int) -> dict[str, Any]:
        if number % 2:
            return shop.hold({slot: 1})
        room = BUYERS // 4 + number // 2 % 10
        return call(shop.connection(), query, [slot, room, room])

    answers = shop.at_once(BUYERS, act)
    return Counter(answer["outcome"] if isinstance(answer, dict) else repr(answer) for answer in answers)


def test_a_slot_never_gets_less_room_than_is_being_held(shop: Shop) -> None:
    """Buyers and administrators at once: each is served or refused in words, and nothing is oversold."""
    seen = lowered_while_held(shop)
    assert set(seen) <= {"held", "sold-out", "changed", "below-sold"}
    assert seen["held"]
    assert seen["changed"]
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_the_slots_lock_it_gets_less_than_is_held(shop: Shop) -> None:
    """Negative control: without the lock, and the constraint behind it, room goes that is being held."""
    unlocked = ("PERFORM 1 FROM slots WHERE id = ANY (v_slots) ORDER BY id FOR NO KEY UPDATE;", "")
    rewrite_function(shop.owner_url, "set_slot_capacity", unlocked)
    sell_what_is_not_there(shop.owner_url)

    def race() -> bool:
        lowered_while_held(shop)
        return ("slot sells what it has",) in {row[:1] for row in shop.violations()}

    assert shows(race)


# A hold that has looked, and waits.


def held_across(
    shop: Shop, slots: Iterable[UUID], change: Callable[[], object]
) -> dict[str, Any] | Exception:
    """What becomes of a hold of one unit of each while whose wait for its customer's row `change` is made."""
    email = shop.buyer()
    shop.rows("INSERT INTO customers (email, name) VALUES (%s, 'Ada')", email)

    def let_go_after_the_change() -> None:
        with psycopg.connect(shop.owner_url) as conn:
            conn.execute("SELECT FROM customers WHERE email = %s FOR UPDATE", [email])
            locked.append(email)
            eventually(shop.waiting)
            change()

    def hold() -> dict[str, Any]:
        eventually(lambda: locked)
        return shop.hold(dict.fromkeys(slots, 1), email=email)

    locked: list[str] = []
    changed, answer = shop.all_at_once([let_go_after_the_change, hold])
    assert changed is None
    assert answer is not None
    return answer


def put(shop: Shop, **changes: object) -> None:
    version = shop.value("SELECT version FROM offerings WHERE slug = 'concert'")
    query = "SELECT put_offering('concert', %s, %s, %s)"
    assert shop.value(query, Jsonb(IN_YEN | changes), version, str(uuid4()))["outcome"] == "changed"


def test_no_hold_has_one_currency_and_the_price_of_another(shop: Shop) -> None:
    """It is told to try again, and then costs what the offering costs."""
    slot = shop.slot(units=2)
    answer = held_across(shop, [slot], lambda: put(shop))
    assert isinstance(answer, dict)
    assert answer["outcome"] == "lock-timeout"
    assert shop.hold({slot: 1})["outcome"] == "held"
    assert shop.rows("SELECT amount, currency FROM ticket_reservations") == [(9900, "jpy")]


def test_control_without_a_second_look_a_hold_is_of_two_currencies(shop: Shop) -> None:
    """Negative control: nobody looks at the currency again."""
    rewrite_function(
        shop.owner_url, "reserve_tickets", ("WHEN bool_or(o.currency <> v_currencies[1])", "WHEN false")
    )
    slot = shop.slot(units=2)
    held_across(shop, [slot], lambda: put(shop))
    assert shop.rows("SELECT amount, currency FROM ticket_reservations") == [(9900, "eur")]


def test_what_is_retired_meanwhile_is_not_held(shop: Shop) -> None:
    """As if the buyer had come later."""
    slot = shop.slot(units=2)
    answer = held_across(shop, [slot], lambda: put(shop, currency="eur", retired=True))
    assert isinstance(answer, dict)
    assert answer["outcome"] == "slot-closed"


def deleted(shop: Shop) -> None:
    assert shop.value("SELECT delete_offering('concert', NULL)") == {"outcome": "deleted"}


def test_a_slot_that_is_deleted_meanwhile_is_unknown(shop: Shop) -> None:
    """Nothing is held of a slot that is gone, and nothing of the others."""
    answer = held_across(shop, [shop.slot(units=2)], lambda: deleted(shop))
    assert isinstance(answer, dict)
    assert answer["outcome"] == "unknown-slot"
    assert shop.value("SELECT count(*) FROM ticket_reservations") == 0


def test_a_slot_that_is_deleted_while_another_is_sold_out_is_unknown(shop: Shop) -> None:
    """What is gone is not among what is left of a sale that is sold out."""
    gone, full = shop.slot(units=1), shop.slot(units=1)

    def change() -> None:
        shop.rows("DELETE FROM slots WHERE id = %s", gone)
        assert shop.hold({full: 1})["outcome"] == "held"

    answer = held_across(shop, [gone, full], change)
    assert isinstance(answer, dict)
    assert answer["outcome"] == "unknown-slot"


def test_control_without_a_second_look_a_slot_that_is_gone_is_no_refusal(shop: Shop) -> None:
    """Negative control: the hold goes on with slots that are not there."""
    rewrite_function(shop.owner_url, "reserve_tickets", ("WHEN count(*) < cardinality(v_slots) THEN 'unknown-slot'", "WHEN false THEN ''"))  # fmt: skip
    answer = held_across(shop, [shop.slot(units=2)], lambda: deleted(shop))
    assert isinstance(answer, psycopg.errors.NotNullViolation)


# A seller who has the slot, and an administrator who waits for it.


def sold_while_deleted(shop: Shop) -> tuple[str, str]:
    """What the buyer of the offering's one booking hears, and who deletes the offering meanwhile."""
    slot = shop.slot(units=1)
    hold = shop.hold({slot: 1})["id"]
    shop.rows("UPDATE offerings SET pay_on_arrival = true")
    with ThreadPoolExecutor() as pool, psycopg.connect(shop.app_url) as selling:
        selling.execute("SELECT FROM slots WHERE id = %s FOR NO KEY UPDATE", [slot])
        deleting = pool.submit(
            lambda: call(shop.connection(), "SELECT delete_offering('concert', NULL)", [])["outcome"]
        )
        eventually(lambda: shop.waiting() == 1)
        book = "SELECT book_reservation(%s, %s, 'pay_on_arrival', NULL, '1 second')"
        booked = selling.execute(book, [uuid4(), hold]).fetchone()
        selling.commit()
        assert booked is not None
        return booked[0]["outcome"], deleting.result()


def test_who_deletes_an_offering_is_in_no_sellers_way(shop: Shop) -> None:
    """The seller sells, and what has sales is retired."""
    assert sold_while_deleted(shop) == ("booked", "retired")


def test_control_with_a_stronger_lock_of_the_offering_they_deadlock(shop: Shop) -> None:
    """Negative control: a booking names its offering, which must not wait for who has locked that and waits for the slot."""
    rewrite_function(
        shop.owner_url, "delete_offering", ("slug = p_slug FOR NO KEY UPDATE", "slug = p_slug FOR UPDATE")
    )
    with pytest.raises(psycopg.errors.DeadlockDetected):
        sold_while_deleted(shop)


# Two administrators.


def created_at_once(shop: Shop) -> Counter[str]:
    """What is answered to many who create the same offering."""
    slug = f"new-{uuid4().hex}"
    query = "SELECT put_offering(%s, %s, NULL, %s)"
    answers = shop.at_once(
        12, lambda _: call(shop.connection(), query, [slug, Jsonb(IN_YEN | {"add_ons": [{"name": "A", "unit_amount": 1}]}), str(uuid4())])
    )  # fmt: skip
    return Counter(answer["outcome"] if isinstance(answer, dict) else repr(answer) for answer in answers)


def changed_at_once(shop: Shop) -> Counter[str]:
    """What is answered to many who have seen the same version."""
    shop.slot(units=1)
    version = shop.value("SELECT version FROM offerings WHERE slug = 'concert'")
    query = "SELECT put_offering('concert', %s, %s, %s)"
    answers = shop.at_once(
        12, lambda _: call(shop.connection(), query, [Jsonb(IN_YEN), version, str(uuid4())])
    )
    return Counter(answer["outcome"] if isinstance(answer, dict) else repr(answer) for answer in answers)


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (created_at_once, {"created": 1, "precondition-required": 11}),
        (changed_at_once, {"changed": 1, "version-conflict": 11}),
    ],
)
def test_of_many_administrators_one_writes(
    shop: Shop, act: Callable[[Shop], Counter[str]], expected: dict[str, int]
) -> None:
    """The others hear that somebody was there before."""
    assert act(shop) == expected


def test_control_without_the_offerings_lock_several_write_one_version(shop: Shop) -> None:
    """Negative control: they all find the version that they have seen."""
    rewrite_function(
        shop.owner_url, "put_offering", ("WHERE slug = p_slug FOR NO KEY UPDATE", "WHERE slug = p_slug")
    )
    assert shows(lambda: changed_at_once(shop)["changed"] > 1)
