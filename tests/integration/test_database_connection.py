"""One connection, one way to work on it: whole or not at all, whatever happens to the connection and the locks."""

import threading
import time
from collections.abc import Generator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from database.connection import BREAKER_FAILURES, Connection, Database, call, only_value, transaction
from domain.refusals import DatabaseUnavailable, LockTimeout
from local.postgres import PostgresServer
from tests.support.app import App
from tests.support.in_time import within
from tests.support.logs import Logs
from tests.support.postgres import end_connections, on_every_postgres
from tests.support.round_trips import Cut, Proxy, proxied
from tests.support.stripe_events import event_of, intent

pytestmark = on_every_postgres


@pytest.fixture
def database(app: App) -> Generator[Database]:
    database = Database(app.app_url)
    yield database
    database.close()


@pytest.fixture
def proxy(app: App) -> Generator[Proxy]:
    """A proxy between the functions and their database."""
    with proxied(app.app_url) as (proxy, url):
        app.set(DATABASE_URL=url)
        try:
            yield proxy
        finally:
            app.forget()


def fails_once(failure: type[psycopg.Error]) -> tuple[Any, list[int]]:
    """A unit of work that raises at its first run only, and the list of its runs."""
    runs: list[int] = []

    def act(conn: Connection) -> int:
        runs.append(1)
        if len(runs) == 1:
            raise failure
        return call(conn, "SELECT 42")

    return act, runs


@pytest.mark.parametrize(
    "failure", [errors.DeadlockDetected, errors.SerializationFailure, psycopg.OperationalError]
)
def test_what_may_be_done_again_is_done_again(database: Database, failure: type[psycopg.Error]) -> None:
    """Deadlock, serialization failure and a lost connection: the whole unit runs again."""
    act, runs = fails_once(failure)
    assert database.run(act) == 42
    assert len(runs) == 2


def test_what_never_ends_is_given_up_in_time(database: Database) -> None:
    """A conflict that does not go away is a refusal after two and a half seconds."""

    def act(_: Connection) -> None:
        raise errors.DeadlockDetected

    def run() -> None:
        with pytest.raises(LockTimeout):
            database.run(act)

    within(5, run)


def test_a_real_deadlock_is_done_again(app: App, database: Database) -> None:
    """Two transactions that really deadlock: PostgreSQL ends one, which runs again and finishes."""
    first, second = app.slot(), app.slot()
    held, go = threading.Event(), threading.Event()
    runs: list[int] = []
    lock = "SELECT 1 FROM slots WHERE id = %s FOR UPDATE"

    def other() -> None:
        with psycopg.connect(app.owner_url) as conn:
            conn.execute(lock, [second])
            held.set()
            go.wait(5)
            try:
                conn.execute(lock, [first])
            except errors.DeadlockDetected:
                conn.rollback()

    def act(conn: Connection) -> None:
        runs.append(1)
        with transaction(conn, {}) as unit:
            with unit.opening():
                conn.execute(lock, [first])
            go.set()
            with unit.committing():
                conn.execute(lock, [second])
                conn.execute("UPDATE slots SET max_units = max_units + 1 WHERE id = %s", [first])

    thread = threading.Thread(target=other)
    thread.start()
    held.wait(5)
    database.run(act)
    thread.join()
    assert app.value("SELECT max_units FROM slots WHERE id = %s", first) == 11


def test_a_real_serialization_failure_is_done_again(app: App, database: Database) -> None:
    """Somebody else changed the row first: the unit runs again on what it finds then."""
    slot = app.slot()
    runs: list[int] = []

    def act(conn: Connection) -> None:
        runs.append(1)
        conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        conn.execute("SELECT max_units FROM slots WHERE id = %s", [slot])
        if len(runs) == 1:
            app.rows("UPDATE slots SET max_units = 20 WHERE id = %s", slot)
        conn.execute("UPDATE slots SET max_units = max_units + 1 WHERE id = %s", [slot])
        conn.execute("COMMIT")

    database.run(act)
    assert len(runs) == 2
    assert app.value("SELECT max_units FROM slots WHERE id = %s", slot) == 21


def test_a_lock_that_is_not_to_be_had_is_409(app: App) -> None:
    """Somebody has the slot locked: after two seconds 409 lock-timeout with Retry-After, and nothing is half done."""
    slot = app.slot()
    with psycopg.connect(app.owner_url) as other:
        other.execute("SELECT 1 FROM slots WHERE id = %s FOR UPDATE", [slot])
        started = time.monotonic()
        answer = within(4, lambda: app.try_hold(slot))
        waited = time.monotonic() - started
    assert (answer.status, answer.problem) == (409, "lock-timeout")
    assert int(answer.headers["Retry-After"]) > 0
    assert waited > 1.5
    assert app.count("ticket_reservations") == app.count("customers") == 0
    assert app.try_hold(slot).status == 201
    assert app.violations() == []


def test_a_connection_that_was_ended_is_opened_again(
    app: App, postgres: PostgresServer, database_name: str
) -> None:
    """A failover between two calls is not noticed by the caller."""
    slot = app.slot()
    app.hold(slot)
    app._owner.close()
    assert end_connections(postgres, database_name) >= 1
    app._owner = psycopg.connect(app.owner_url, autocommit=True)
    app.hold(slot)
    assert app.counts(slot) == (2, 0, 2, 0)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hold_whose_connection_is_cut_is_held_once(app: App, proxy: Proxy, when: Cut) -> None:
    """The request or the answer of the one call is lost: the caller gets its hold, and it is one."""
    slot = app.slot()
    app.hold(slot)
    proxy.cut(when, b"reserve_tickets")
    answer = app.try_hold(slot, 2)
    assert proxy.cuts == 1
    assert answer.status == 201
    assert answer.body["amount"] == 9000
    assert app.counts(slot) == (3, 0, 2, 0)
    assert app.violations() == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hold_under_a_key_whose_connection_is_cut_is_held_once(app: App, proxy: Proxy, when: Cut) -> None:
    """The same under a key: 201, no replay, and the key has this answer."""
    slot = app.slot()
    app.hold(slot)
    proxy.cut(when, b"reserve_tickets")
    request = app.hold_request(slot)
    headers = {"idempotency-key": "0123456789abcdef"}
    answer = app.call("reservations", "POST", "/reservations", request, headers)
    assert (answer.status, proxy.cuts) == (201, 1)
    assert "Idempotent-Replayed" not in answer.headers
    again = app.call("reservations", "POST", "/reservations", request, headers)
    assert again.text == answer.text
    assert app.counts(slot) == (2, 0, 2, 0)


@pytest.mark.parametrize("marker", [b"begin_payment", b"record_payment"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_payment_whose_connection_is_cut_is_made_once(
    app: App, proxy: Proxy, when: Cut, marker: bytes
) -> None:
    """The first or the last step is lost on its way there or back: one payment, one intent."""
    hold = app.hold(app.slot())
    app.pay(app.hold(app.slot()))
    proxy.cut(when, marker)
    answer = app.pay(hold, key="key")
    assert proxy.cuts == 1
    assert answer.status == 201, answer
    assert len(app.intents(hold)) == 1
    assert app.pay(hold, key="key").text == answer.text
    assert app.violations() == []


@pytest.mark.parametrize("marker", [b"claim_webhook_event", b"COMMIT"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_webhook_whose_connection_is_cut_is_applied_once(
    app: App, proxy: Proxy, when: Cut, marker: bytes
) -> None:
    """Cut in the middle or at COMMIT, whose answer may be lost: one booking, and Stripe hears 200."""
    slot = app.slot()
    payment = app.payment(app.hold(slot))
    assert payment.intent_id is not None
    event = event_of("payment_intent.succeeded", intent(payment.intent_id, 4500, "succeeded"))
    app.outcome(event_of("customer.created", {}))
    proxy.cut(when, marker)

    outcome = app.outcome(event)

    assert proxy.cuts == 1
    assert outcome == ("duplicate" if (when, marker) == ("after", b"COMMIT") else "processed")
    assert app.counts(slot) == (0, 1, 0, 1)
    assert app.count("bookings") == app.count("outbox") == 1
    assert app.violations() == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_cleanup_whose_connection_is_cut_releases_once(app: App, proxy: Proxy, when: Cut) -> None:
    """The counts stay exact."""
    slot = app.slot()
    app.hold(slot, 3)
    app.expire(app.hold(slot, 2))
    app.invoke("reservation-cleanup")
    app.rows("UPDATE ticket_reservations SET expires_at = now()")
    proxy.cut(when, b"cleanup_expired_reservations")
    app.invoke("reservation-cleanup")
    assert proxy.cuts == 1
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.violations() == []


def test_a_connection_that_is_always_cut_is_503(app: App, proxy: Proxy) -> None:
    """Nothing gets through: 503 with Retry-After inside five seconds, and nothing is held."""
    slot = app.slot()
    proxy.cut("before", b"reserve_tickets", times=99)
    started = time.monotonic()
    answer = app.try_hold(slot)
    assert (answer.status, answer.problem) == (503, "database-unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert time.monotonic() - started < 5
    assert app.counts(slot) == (0, 0, 0, 0)


def test_a_database_that_refuses_opens_the_breaker(app: App) -> None:
    """After three refusals callers hear 503 at once; a few seconds later the database is tried again."""
    app.set(DATABASE_URL="postgresql://app@127.0.0.1:9/nowhere")
    slow = app.call("reservations", "GET", "/offerings")
    assert (slow.status, slow.problem) == (503, "database-unavailable")
    for _ in range(BREAKER_FAILURES):
        app.call("reservations", "GET", "/offerings")
    took: list[float] = []
    for _ in range(3):
        started = time.monotonic()
        assert app.call("reservations", "GET", "/offerings").status == 503
        took.append(time.monotonic() - started)
    assert min(took) < 0.1  # a busy machine may keep any one of them waiting


def test_an_open_breaker_closes_by_itself(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """When its time is over the next call connects, and all is well."""
    monkeypatch.setattr("database.connection.BREAKER_SECONDS", 0.2)
    with proxied(app.app_url) as (proxy, url):
        database = Database(url)
        proxy.cut("before", b"user\x00app", times=5)
        with pytest.raises(DatabaseUnavailable):
            database.run(lambda conn: call(conn, "SELECT 1"))
        assert proxy.cuts >= BREAKER_FAILURES
        proxy.cut("before", b"never", times=1)
        time.sleep(0.25)
        assert database.run(lambda conn: call(conn, "SELECT 1")) == 1
        database.close()


def test_a_failed_unit_leaves_nothing_behind(app: App, database: Database) -> None:
    """What fails in the middle is rolled back, and the connection is good for the next unit."""
    slot = app.slot()

    def act(conn: Connection) -> None:
        with transaction(conn, {}) as unit:
            with unit.opening():
                conn.execute("UPDATE slots SET held_units = 5 WHERE id = %s", [slot])
            raise ValueError("decided otherwise")

    with pytest.raises(ValueError, match="decided otherwise"):
        database.run(act)
    assert app.counts(slot) == (0, 0, 0, 0)
    assert database.run(lambda conn: call(conn, "SELECT 1")) == 1


def test_a_batch_that_fails_commits_nothing(app: App, database: Database) -> None:
    """COMMIT travels with the last batch and is skipped when anything in it fails."""
    slot = app.slot()

    def act(conn: Connection) -> None:
        with transaction(conn, {}) as unit:
            with unit.opening():
                cursor = conn.execute("SELECT 7")
            assert only_value(cursor) == 7
            with unit.committing():
                conn.execute("UPDATE slots SET held_units = 5 WHERE id = %s", [slot])
                conn.execute("SELECT 1/0")

    with pytest.raises(errors.DivisionByZero):
        database.run(act)
    assert app.counts(slot) == (0, 0, 0, 0)


def test_who_acts_is_known_for_one_transaction_only(database: Database) -> None:
    """The context of a call is gone with its commit."""
    context = "SELECT current_setting('holdfast.context', true)"
    assert "somebody" in database.run(lambda conn: call(conn, context, context={"actor": "somebody"}))
    assert not database.run(lambda conn: call(conn, context))


def test_every_unit_is_timed_at_debug_level(app: App, logs: Logs) -> None:
    """The duration of each database call is a debug line, with the ids of its invocation."""
    hold = app.hold(app.slot())
    (line,) = [line for line in logs.lines("DEBUG") if "duration_ms" in line]
    assert line["duration_ms"] > 0
    assert line["reservation_id"] == hold.id
    assert line["request_id"]


def test_an_id_made_up_by_the_caller_finds_its_own_first_run(app: App) -> None:
    """A hold whose COMMIT was lost is made again under the same id, and is the same hold."""
    slot = app.slot()
    hold_id = uuid4()
    query = """
        SELECT reserve_tickets(%s, 'ada@example.com', 'Ada', NULL,
            jsonb_build_array(jsonb_build_object('slot_id', %s::text, 'units', 2, 'add_ons', '[]'::jsonb)))
    """
    answers = [app.value(query, hold_id, slot) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["outcome"] == "held"
    assert app.counts(slot) == (2, 0, 1, 0)
