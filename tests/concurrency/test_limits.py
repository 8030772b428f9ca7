"""Limits under a crowd: never more than the limit act, and nobody waits for another's act to be counted."""

import threading
from collections.abc import Callable
from uuid import UUID, uuid4

import psycopg

from database.connection import call
from domain.limits import begin_request
from domain.refusals import TooManyRequests
from tests.concurrency.guards import begin_window, rewrite_function, shows
from tests.concurrency.shop import Shop

LIMIT = 10


def act(shop: Shop, crowd: str) -> int:
    """A request that is counted, and does next to nothing."""
    begin_request(lambda _: {crowd: LIMIT})
    try:
        return shop.database().run(lambda conn: call(conn, "SELECT 1"))
    finally:
        begin_request(None)


def rush(shop: Shop) -> list[int | Exception]:
    """What forty callers are answered at once."""
    crowd = f"crowd {uuid4()}"
    answers = shop.at_once(40, lambda _: act(shop, crowd))
    assert {type(answer) for answer in answers} <= {int, TooManyRequests}, answers
    return answers


def test_no_more_than_the_limit_act_whoever_comes_at_once(shop: Shop) -> None:
    begin_window(shop.owner_url, "count_request")
    answers = rush(shop)
    assert 0 < answers.count(1) <= LIMIT
    assert shop.deadlocks() == 0


def test_control_looked_at_before_it_is_counted_more_than_the_limit_act(shop: Shop) -> None:
    """Negative control: all have looked before any has counted."""
    rewrite_function(
        shop.owner_url,
        "count_request",
        ("taken_of_window(w.bucket, v_window) > w.most", "taken_of_window(w.bucket, v_window) >= w.most"),
        ("COMMIT;", "IF NOT FOUND THEN v_over := p_buckets[1]; END IF; PERFORM pg_sleep(0.2); COMMIT;"),
        ("SELECT bucket INTO v_over FROM", "PERFORM bucket FROM"),
    )
    assert shows(lambda: rush(shop).count(1) > LIMIT)


def waits(shop: Shop) -> int:
    """How many connections wait for a lock."""
    return shop.value(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )


def until(shop: Shop, condition: Callable[[], bool]) -> None:
    while not condition():
        shop.rows("SELECT pg_sleep(0.01)")


def done_beside_a_waiting_act(shop: Shop) -> list[str]:
    """What is done of two requests of one address and row while the first one's act waits for a lock."""
    begin_window(shop.owner_url, "count_request")
    rewrite_function(shop.owner_url, "count_request", ("pg_backend_pid() % 8", "0"))
    locked = shop.slot(units=1)
    done: list[str] = []

    def first(slot: UUID) -> None:
        begin_request(lambda _: {"office": LIMIT})
        shop.database().run(lambda conn: call(conn, "SELECT 1 FROM slots WHERE id = %s FOR UPDATE", [slot]))
        done.append("first")

    def second() -> None:
        begin_request(lambda _: {"office": LIMIT})
        shop.database().run(lambda conn: call(conn, "SELECT 1"))
        done.append("second")

    with psycopg.connect(shop.owner_url) as other:
        other.execute("SELECT FROM slots FOR UPDATE")
        threads = [threading.Thread(target=first, args=[locked]), threading.Thread(target=second)]
        threads[0].start()
        until(shop, lambda: waits(shop) == 1)
        threads[1].start()
        until(shop, lambda: bool(done) or waits(shop) == 2)
        meanwhile = [*done]
    for thread in threads:
        thread.join()
    assert sorted(done) == ["first", "second"]
    return meanwhile


def test_nobody_waits_for_anothers_act(shop: Shop) -> None:
    assert done_beside_a_waiting_act(shop) == ["second"]


def test_control_without_its_own_commit_a_count_is_waited_for(shop: Shop) -> None:
    """Negative control: the row of the count is locked until the act is over."""
    rewrite_function(shop.owner_url, "count_request", ("COMMIT;", ""))
    assert done_beside_a_waiting_act(shop) == []
