"""Credits that several want at the same moment: to spend, to take away, to write off, to give back."""

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg

from tests.concurrency.guards import execute, rewrite_function, shows
from tests.concurrency.shop import Shop
from tests.emulator_process import eventually

CALLERS = 24
LOCK = ("WHERE user_id = p_user_id FOR NO KEY UPDATE", "WHERE user_id = p_user_id")


def without_checks(shop: Shop) -> None:
    """Takes out what would refuse wrong sums, so that what the locks prevent can be seen."""
    execute(
        shop.owner_url,
        "ALTER TABLE user_credits DROP CONSTRAINT user_credits_are_never_below_zero",
        "ALTER TABLE credit_grants DROP CONSTRAINT credit_grants_remain_within_their_amount",
        "ALTER TABLE credit_entries DROP CONSTRAINT credit_entries_spend_and_return_once",
    )


def add(shop: Shop, user: str, delta: int, key: str | None = None) -> str:
    """The outcome of an administrator's change, on this thread's bare connection."""
    query = "SELECT grant_credits(%s, %s, NULL, 'r', 'admin-1', %s, 'hash')"
    row = shop.connection().execute(query, [user, delta, key or str(uuid4())]).fetchone()
    assert row is not None
    return row[0]["outcome"]


def total(shop: Shop, user: str, kind: str) -> int:
    """How many credits the entries of a kind have moved."""
    query = "SELECT coalesce(abs(sum(delta)), 0) FROM credit_entries WHERE user_id = %s AND kind = %s"
    return shop.value(query, user, kind)


def balance(shop: Shop, user: str) -> int:
    return shop.value("SELECT balance FROM user_credits WHERE user_id = %s", user)


# Granting against taking.


def granted_and_taken(shop: Shop) -> tuple[int, int, int, int]:
    """Grants of one credit among three times as many who take one: granted, told that they have one, taken, left."""
    user = str(uuid4())
    answers = shop.at_once(
        CALLERS * 4, lambda number: (number % 4 == 0, add(shop, user, -1 if number % 4 else 1))
    )
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    told = answers.count((False, "changed"))
    return total(shop, user, "grant"), told, total(shop, user, "deduct"), balance(shop, user)


def test_no_more_is_taken_than_was_granted(shop: Shop) -> None:
    """While it is granted: each credit is there once, and taken once."""
    granted, told, taken, left = granted_and_taken(shop)
    assert granted == CALLERS
    assert told == taken == granted - left
    assert left >= 0
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_the_lock_a_credit_is_taken_twice(shop: Shop) -> None:
    """Negative control: without the lock on the user's credits, and the checks behind it, more is taken than there was."""
    rewrite_function(shop.owner_url, "take_credits", LOCK)
    without_checks(shop)
    assert shows(lambda: granted_and_taken(shop)[-1] < 0)


def taken_at_the_first_grant(shop: Shop) -> tuple[list[str], int]:
    """A user's first credit is granted while two, who have come before, are about to look: what they hear, what is left."""
    user = str(uuid4())
    with ThreadPoolExecutor() as pool, psycopg.connect(shop.owner_url) as granting:
        granting.execute("LOCK TABLE credit_grants")
        takers = [pool.submit(add, shop, user, -1) for _ in range(2)]
        eventually(lambda: shop.waiting() == 2 or all(taker.done() for taker in takers))
        granting.execute("SELECT grant_credits(%s, 1, NULL, 'r')", [user])
        granting.commit()
        return [taker.result() for taker in takers], balance(shop, user)


def test_who_came_before_the_first_grant_has_nothing_to_take(shop: Shop) -> None:
    """Where there is no row yet to lock, nothing is taken."""
    assert taken_at_the_first_grant(shop) == (["insufficient-credits"] * 2, 1)


def test_control_where_no_row_is_no_refusal_the_first_credit_is_taken_twice(shop: Shop) -> None:
    """Negative control: two who found no row to lock find one credit, both."""
    rewrite_function(shop.owner_url, "take_credits", ("IF NOT FOUND OR (", "IF ("))
    without_checks(shop)
    assert shows(lambda: taken_at_the_first_grant(shop) == (["changed"] * 2, -1))


def granted_under_one_key(shop: Shop) -> tuple[int, int]:
    """How many calls of many under one key have granted, as they were told; and how much."""
    user, key = str(uuid4()), str(uuid4())
    answers = shop.at_once(CALLERS, lambda _: add(shop, user, 1, key))
    return answers.count("changed"), total(shop, user, "grant")


def test_one_key_grants_once(shop: Shop) -> None:
    """Many at once: one grant, the others hear its answer."""
    assert granted_under_one_key(shop) == (1, 1)


def test_control_a_key_that_is_not_claimed_first_grants_twice(shop: Shop) -> None:
    """Negative control: looked for without being claimed, the key is new to all of them."""
    rewrite_function(
        shop.owner_url,
        "grant_credits",
        ("VALUES (v_scope, p_key, p_request_hash, now())", "VALUES (v_scope, gen_random_uuid()::text, p_request_hash, now())"),
    )  # fmt: skip
    assert shows(lambda: granted_under_one_key(shop)[1] > 1)


# Expiry against taking.


def taken_while_it_expires(shop: Shop) -> tuple[int, int]:
    """Credits that are taken one by one until their time is over, and then written off: gone, granted."""
    user, granted = str(uuid4()), 400
    add(shop, user, granted)
    shop.rows(
        "UPDATE credit_grants SET expires_at = clock_timestamp() + interval '60 milliseconds' WHERE user_id = %s",
        user,
    )

    def take() -> None:
        while add(shop, user, -1) == "changed":
            pass

    def expire() -> None:
        give_up_at = time.monotonic() + 60
        while shop.value("SELECT sum(remaining) FROM credit_grants WHERE user_id = %s", user) > 0:
            shop.connection().execute("SELECT expire_credits()")
            assert time.monotonic() < give_up_at

    failures = [answer for answer in shop.all_at_once([take] * 6 + [expire] * 4) if answer is not None]
    assert failures == []
    return total(shop, user, "deduct") + total(shop, user, "expire"), granted


def test_what_is_taken_does_not_expire_as_well(shop: Shop) -> None:
    """Whoever comes first at the moment of expiry: each credit goes once."""
    gone, granted = taken_while_it_expires(shop)
    assert gone == granted
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_the_lock_a_credit_expires_twice(shop: Shop) -> None:
    """Negative control: clean-ups that do not lock the user's credits write the same ones off."""
    rewrite_function(shop.owner_url, "expire_credits", ("FOR NO KEY UPDATE SKIP LOCKED", ""))
    without_checks(shop)

    def race() -> bool:
        gone, granted = taken_while_it_expires(shop)
        return gone > granted

    assert shows(race)


# Giving back.


def returned(shop: Shop) -> int:
    """How much of two credits many who cancel at once give back."""
    user, held = str(uuid4()), shop.hold({shop.slot(units=1): 1})["id"]
    add(shop, user, 5)
    booking = uuid4()
    shop.rows("UPDATE offerings SET credits_price = 2")
    shop.rows("UPDATE reservation_items SET credits_price = 2")
    booked = "SELECT book_reservation(%s, %s, 'credits', %s, interval '1 second')"
    assert shop.value(booked, booking, held, user)["outcome"] == "booked"
    answers = shop.at_once(
        CALLERS, lambda _: shop.connection().execute("SELECT return_credits(%s, 2, 'cancelled')", [booking])
    )
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    return total(shop, user, "return")


def test_credits_come_back_once(shop: Shop) -> None:
    """Case 29: many cancel at once, and one gives back."""
    assert returned(shop) == 2


def test_control_without_the_lock_credits_come_back_twice(shop: Shop) -> None:
    """Negative control: without the lock on the user's credits, and the keys behind it, several give back."""
    rewrite_function(
        shop.owner_url, "return_credits", ("WHERE booking_id = p_booking_id) FOR NO KEY UPDATE", "WHERE booking_id = p_booking_id)")
    )  # fmt: skip
    without_checks(shop)
    assert shows(lambda: returned(shop) > 2)
