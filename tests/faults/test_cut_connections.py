"""The connection to the database is cut at every boundary between two statements in turn, COMMIT included.

What comes before the boundary reaches the server and is done; what comes after it does not, and no answer gets back.
"""

from collections.abc import Callable, Generator
from contextlib import suppress
from datetime import date, timedelta
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from local.breakage.cuts import ACTS, sql_functions
from tests.emulator_process import eventually
from tests.faults.boundaries import NthBoundary, cuttable
from tests.support.app import App, Payment
from tests.support.receiver import receiving
from tests.support.sign_in import SECRET, token


@pytest.fixture
def cut(app: App, monkeypatch: pytest.MonkeyPatch) -> Generator[NthBoundary]:
    """The functions reach their database through this, and send nothing ahead of their acts.

    They have time for a server that is slow to see that they have gone: whether they come to the same end is the question.
    """
    name = app.value("SELECT current_database()")
    for limit, value in (("lock_timeout", "30s"), ("statement_timeout", "60s")):
        app.rows(f"ALTER ROLE app IN DATABASE {name} SET {limit} = '{value}'")
    for limit in ("ANSWER_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(f"database.connection.{limit}", 65.0)
    direct = urlsplit(app.app_url)
    with cuttable(app.app_url) as (cut, port):
        app.set(DATABASE_URL=direct._replace(netloc=f"app@127.0.0.1:{port}").geturl(), RATE_LIMITS="off")
        yield cut
        app.forget()


def at_every_boundary(cut: NthBoundary, story: Callable[[Callable[[], None]], None]) -> list[str]:
    """Tells the story once for each boundary that it comes to after it has armed the cut; answers where it was cut."""
    places: list[str] = []
    while True:
        story(lambda: cut.arm(len(places)))
        if cut.cut is None:
            return places
        places.append(cut.cut)
        cut.arm(None)


def boundaries(*batches: str) -> list[str]:
    """Every place where these batches can be cut."""
    places: list[str] = []
    for steps in map(str.split, batches):
        places += [" ".join([*steps[:place], "|", *steps[place:]]) for place in range(len(steps) + 1)]
    return places


def test_the_server_does_what_comes_before_the_cut(app: App) -> None:
    """A transaction is there once its COMMIT has arrived, a statement of its own once its Sync has."""
    app.rows("CREATE TABLE done (what text); GRANT ALL ON done TO app")
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    done: list[str] = []
    with cuttable(app.app_url) as (cut, port):
        url = urlsplit(app.app_url)._replace(netloc=f"app@127.0.0.1:{port}").geturl()

        def story(arm: Callable[[], None]) -> None:
            app.rows("TRUNCATE done")
            with suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as conn:
                arm()
                with conn.pipeline():
                    for statement in ("BEGIN", "INSERT INTO done VALUES ('a')", "COMMIT"):
                        conn.execute(statement)
                conn.execute("INSERT INTO done VALUES (%s)", ["b"])
            eventually(lambda: app.value(others) == 0)
            done.append(app.value("SELECT coalesce(string_agg(what, ''), '') FROM done"))

        assert at_every_boundary(cut, story) == boundaries("BEGIN INSERT COMMIT Sync", "INSERT Sync")
    assert done == ["", "", "", "a", "a", "a", "a", "ab", "ab"]


def test_every_act_of_a_sale_is_one_of_sql() -> None:
    """What a siege has to cut is what the migrations define."""
    assert set(ACTS.values()) <= sql_functions()


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "unkeyed"])
def test_a_cut_hold_is_held_once(app: App, cut: NthBoundary, keyed: bool) -> None:
    """A hold whose connection breaks is granted all the same, and there is one of it."""

    def story(arm: Callable[[], None]) -> None:
        slot = app.slot(units=5)
        app.hold(slot)
        arm()
        answer = app.try_hold(slot, key=f"a-key-for-{slot}" if keyed else None)
        assert answer.status == 201
        assert app.counts(slot) == (2, 0, 2, 0)

    assert at_every_boundary(cut, story) == boundaries("reserve_tickets Sync")
    assert app.violations() == []


def test_a_hold_cut_behind_its_count_is_held_once(app: App, cut: NthBoundary) -> None:
    """Where the connection breaks before the count, behind it, or behind the act: it is counted, and held once."""
    app.set(RATE_LIMITS="on")

    def story(arm: Callable[[], None]) -> None:
        slot = app.slot()
        app.hold(slot)
        app.rows("DELETE FROM rate_limits")
        arm()
        app.hold(slot)
        assert app.counts(slot) == (2, 0, 2, 0)
        assert app.value("SELECT min(used) FROM rate_limits") >= 1

    assert at_every_boundary(cut, story) == boundaries("CALL reserve_tickets Sync")
    assert app.violations() == []


def test_a_cut_payment_is_made_once(app: App, cut: NthBoundary) -> None:
    """A payment whose connection breaks, before Stripe or after, is one payment at Stripe and answered 201."""

    def story(arm: Callable[[], None]) -> None:
        hold = app.hold(app.slot())
        arm()
        answer = app.pay(hold, key="key")
        assert answer.status == 201, answer
        assert len(app.intents(hold)) == 1
        assert app.value("SELECT count(*) FROM payment_intents_log WHERE reservation_id = %s", hold.id) == 1
        assert app.pay(hold, key="key").body == answer.body

    # The last one is of the replay.
    assert at_every_boundary(cut, story) == boundaries(
        "begin_payment Sync", "record_payment Sync", "begin_payment Sync"
    )
    assert app.violations() == []


def test_a_cut_webhook_is_applied_once(app: App, cut: NthBoundary) -> None:
    """A webhook whose connection breaks, at COMMIT too, is a booking once and answers 200."""

    def story(arm: Callable[[], None]) -> None:
        slot = app.slot()
        payment = app.payment(app.hold(slot))
        app.confirm(payment)
        event = app.event(payment.intent_id, "payment_intent.succeeded")
        arm()
        assert app.outcome(event) in ("processed", "duplicate")
        assert app.counts(slot) == (0, 1, 0, 1)
        reason = "SELECT count(*) FROM outbox WHERE payload ->> 'reservation_id' = %s"
        assert app.value(reason, payment.hold.id) == 1
        assert app.outcome(event) == "duplicate"

    claim = "BEGIN set_config claim_webhook_event Sync"
    effects = "record_facts confirm_hold settle_webhook_event COMMIT Sync"
    # The last two are of the duplicate.
    assert at_every_boundary(cut, story) == boundaries(claim, effects, claim, "COMMIT Sync")
    assert app.violations() == []


def test_a_cut_cancellation_is_done_once(app: App, cut: NthBoundary) -> None:
    """A cancellation whose connection breaks ends its payment and gives its seats back, once."""

    def story(arm: Callable[[], None]) -> None:
        slot = app.slot()
        payment = app.payment(app.hold(slot))
        arm()
        answer = app.cancel(payment.hold)
        if answer.status == 503:
            # Its own lost step looks like somebody at Stripe; that one's lease ends.
            app.leases_over()
            answer = app.cancel(payment.hold)
        assert answer.status == 200, answer
        assert app.counts(slot) == (0, 0, 0, 0)
        assert [intent.status for intent in app.intents(payment.hold)] == ["canceled"]

    assert at_every_boundary(cut, story) == boundaries("begin_close Sync", "finish_close Sync")
    assert app.violations() == []


def test_a_cut_clean_up_releases_once(app: App, cut: NthBoundary) -> None:
    """A clean-up whose connection breaks fails or finishes; with the next one each hold has been ended once."""

    def story(arm: Callable[[], None]) -> None:
        slot = app.slot(units=5)
        holds = [app.hold(slot), app.payment(app.hold(slot)).hold]
        app.expire(*holds)
        arm()
        app.invoke("reservation-cleanup")
        app.leases_over()
        app.invoke("reservation-cleanup")
        assert {app.status(hold) for hold in holds} == {"expired"}
        assert app.counts(slot) == (0, 0, 0, 0)

    unpaid, paid = "cleanup_expired_reservations Sync", "claim_payments_to_close Sync"
    unused, end = "expire_credits Sync", "forget_old_idempotency_keys forget_old_rate_limits finish_job Sync"
    # The second run finds nothing to do where the first was cut at its end.
    assert at_every_boundary(cut, story) == boundaries(
        unpaid, paid, "finish_close Sync", paid, unused, end, unpaid, paid, unused, end
    )
    assert app.violations() == []


def paid_too_late(app: App) -> tuple[Payment, dict[str, Any]]:
    """Money for a hold that has expired and whose seat somebody else has now; and Stripe's event of it."""
    slot = app.slot(units=1)
    payment = app.payment(app.hold(slot))
    app.rows("SELECT release_holds(ARRAY[%s]::uuid[], 'expired')", payment.hold.id)
    app.hold(slot)
    app.confirm(payment)
    return payment, app.event(payment.intent_id, "payment_intent.succeeded")


def test_cut_late_money_goes_back_once(app: App, cut: NthBoundary) -> None:
    """Late money whose event breaks off, at COMMIT too, is one refund, in the commit that books nothing."""

    def story(arm: Callable[[], None]) -> None:
        payment, event = paid_too_late(app)
        arm()
        assert app.outcome(event) in ("processed", "duplicate")
        due = """
            SELECT f.amount FROM refunds f JOIN payment_intents_log p ON p.id = f.payment_id
            WHERE p.payment_intent_id = %s
        """
        assert app.rows(due, payment.intent_id) == [(payment.hold.amount,)]
        assert app.status(payment.hold) == "expired"

    claim = "BEGIN set_config claim_webhook_event Sync"
    effects = "record_facts seat_again_or_refund settle_webhook_event COMMIT Sync"
    assert at_every_boundary(cut, story) == boundaries(claim, effects)
    assert app.violations() == []


SENT_BACK = [
    "BEGIN set_config lock_payment payment_ledger Sync",
    "save_refund settle_ledger COMMIT Sync",
]


@pytest.mark.parametrize(
    ("kind", "settled"),
    [
        ("refund", [*SENT_BACK, "claim_outbox Sync", "settle_outbox Sync"]),
        ("notification", ["settle_outbox Sync"]),
    ],
    ids=["refund and its notification", "notification"],
)
def test_a_cut_delivery_is_finished_by_the_next_run(
    app: App, cut: NthBoundary, kind: str, settled: list[str]
) -> None:
    """A run of the outbox that breaks off anywhere: with the next one the money is back once, or the site is told."""
    due = "lease_until < now() + interval '1 hour'"
    with receiving() as site:
        app.set(NOTIFICATION_WEBHOOK_URL=f"{site.url}/told")

        def story(arm: Callable[[], None]) -> None:
            payment, event = paid_too_late(app)
            assert app.outcome(event) == "processed"
            # The other would be under way beside it, in whatever order.
            app.rows("UPDATE outbox SET lease_until = now() + interval '1 day' WHERE kind <> %s", kind)
            site.received.clear()
            arm()
            with suppress(Exception):  # a run may fail; what counts is what it leaves behind
                app.invoke("deliver-outbox")
            over = "UPDATE outbox SET lease_until = now(), next_attempt_at = now() WHERE "
            app.rows(over + due)
            app.invoke("deliver-outbox")
            assert app.rows("SELECT DISTINCT status FROM outbox WHERE " + due) == [("delivered",)]
            refunds = app.stripe_client.v1.refunds.list({"payment_intent": str(payment.intent_id)}).data
            assert [refund.amount for refund in refunds] == [payment.hold.amount] * (kind == "refund")
            assert len({told.headers["Holdfast-Delivery"] for told in site.received}) == 1

        one_run = ["claim_outbox Sync", *settled, "claim_outbox Sync", "finish_job Sync"]
        nothing_left = ["claim_outbox Sync", "finish_job Sync"]
        assert at_every_boundary(cut, story) == boundaries(*one_run, *nothing_left)
    assert app.violations() == []


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "unkeyed"])
def test_a_cut_booking_is_made_once(app: App, cut: NthBoundary, keyed: bool) -> None:
    """A booking whose connection breaks is made once and answered 201; its credits are spent once."""
    app.set(JWT_SECRET=SECRET)
    bearer = {"authorization": f"Bearer {token()}"}
    app.grant("user-1", 100)

    def story(arm: Callable[[], None]) -> None:
        slot = app.slot(credits_price=1)
        hold = app.hold(slot)
        before = app.balance("user-1")
        arm()
        answer = app.book(hold, "credits", key="key" if keyed else None, **bearer)
        assert (answer.status, answer.headers.get("Idempotent-Replayed")) == (201, None), answer
        assert app.counts(slot) == (0, 1, 0, 1)
        assert app.balance("user-1") == before - 1
        assert app.book(hold, "credits", **bearer).status == 200

    # The last one is of the second call.
    assert at_every_boundary(cut, story) == boundaries("book_reservation Sync", "book_reservation Sync")
    assert app.violations() == []


def test_a_cut_booking_over_an_open_payment_closes_it_and_is_made_once(app: App, cut: NthBoundary) -> None:
    """A booking whose connection breaks before, at or after the close of its payment is one booking, and no payment."""

    def story(arm: Callable[[], None]) -> None:
        slot = app.slot(pay_on_arrival=True)
        payment = app.payment(app.hold(slot))
        arm()
        answer = app.book(payment.hold, key="key")
        if answer.status == 409:
            # Its own lost step looks like somebody at Stripe; that one's lease ends.
            app.leases_over()
            answer = app.book(payment.hold, key="key")
        assert answer.status == 201, answer
        assert app.counts(slot) == (0, 1, 0, 1)
        assert [intent.status for intent in app.intents(payment.hold)] == ["canceled"]

    places = at_every_boundary(cut, story)
    assert places == boundaries("book_reservation Sync", "finish_close Sync", "book_reservation Sync")
    assert app.violations() == []


@pytest.mark.parametrize(
    ("what", "sql", "left"),
    [
        ("cancel", "cancel_booking", (2, 0, 0, 4500)),
        ("reschedule", "reschedule_booking", (2, 0, 1, 0)),
        ("refunds", "refund_booking", (1, 1, 0, 4500)),
    ],
)
def test_a_cut_change_of_a_booking_is_made_once(
    app: App, cut: NthBoundary, what: str, sql: str, left: tuple[int, ...]
) -> None:
    """A change whose connection breaks is made once and answered: its own first run is nobody else's version."""
    app.set(JWT_SECRET=SECRET)

    def story(arm: Callable[[], None]) -> None:
        offering = app.offering()
        here, there = app.slot(offering), app.slot(offering)
        booked = "SELECT id, version, payment_id FROM bookings WHERE reservation_id = %s"
        reservation_id = app.booked(here).hold.id
        booking_id = app.row(booked, reservation_id)[0]
        body = {"slot_id": there} if what == "reschedule" else {"reason": "ill"}
        headers = {"if-match": "1", "authorization": f"Bearer {token(role='admin')}"}
        arm()
        answer = app.call("bookings", "POST", f"/bookings/{booking_id}/{what}", body, headers)
        assert answer.status in (200, 202), answer
        _, version, payment_id = app.row(booked, reservation_id)
        back = app.value(
            "SELECT coalesce(sum(amount), 0)::int FROM refunds WHERE payment_id = %s", payment_id
        )
        assert (version, app.counts(here)[1], app.counts(there)[1], back) == left

    seen = [] if what == "refunds" else ["booking_answer Sync"]
    assert at_every_boundary(cut, story) == boundaries(*seen, f"{sql} Sync")
    assert app.violations() == []


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "unkeyed"])
def test_a_cut_grant_of_credits_is_given_once(app: App, cut: NthBoundary, keyed: bool) -> None:
    """Credits whose connection breaks are granted all the same, and once."""
    app.set(JWT_SECRET=SECRET)
    users = count()

    def story(arm: Callable[[], None]) -> None:
        user_id = f"user-{next(users)}"
        headers = {"authorization": f"Bearer {token(role='admin')}"}
        headers |= {"idempotency-key": user_id} if keyed else {}
        arm()
        body = {"delta": 3, "reason": "a gift"}
        answer = app.call("admin", "POST", f"/customers/{user_id}/credits", body, headers)
        assert (answer.status, answer.body) == (201, {"balance": 3})
        assert app.balance(user_id) == 3

    assert at_every_boundary(cut, story) == boundaries("grant_credits Sync")


def test_a_cut_change_of_a_schedule_is_made_once(app: App, cut: NthBoundary) -> None:
    """A schedule whose connection breaks makes its slots once, and leaves those that are sold."""
    app.set(JWT_SECRET=SECRET)
    day = date.today() + timedelta(days=60)  # noqa: DTZ011 - any day that is far ahead
    rules = [{"weekday": day.weekday(), "start": "09:00", "minutes": 60, "max_bookings": 2, "max_units": 2}]
    days = {"from": str(day - timedelta(days=1)), "until": str(day + timedelta(days=1))}
    body = {"timezone": "Europe/Vienna", "rules": rules, **days}

    def story(arm: Callable[[], None]) -> None:
        offering = app.offering()
        sold, empty = (app.slot(offering, starts_in="60 days") for _ in range(2))
        app.booked(sold)
        arm()
        headers = {"authorization": f"Bearer {token(role='admin')}"}
        answer = app.call("admin", "PUT", f"/offerings/{offering}/schedule", body, headers)
        assert answer.status == 200, answer
        slots = "SELECT s.id::text, is_legacy, sold_units FROM slots s JOIN offerings o ON o.id = s.offering_id WHERE o.slug = %s"
        assert sorted(row[1:] for row in app.rows(slots, offering)) == [(False, 0), (True, 1)]
        assert empty not in [row[0] for row in app.rows(slots, offering)]

    assert at_every_boundary(cut, story) == boundaries("refresh_future_schedule Sync")
    assert app.violations() == []
