"""Holds that are booked by other means while something else happens to them, or to the credits they are paid with."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import UUID, uuid4

import psycopg
import pytest
import stripe

from database import changing
from domain.refusals import (
    AlreadyPaid,
    InsufficientCredits,
    PaymentProviderUnavailable,
    RequestInProgress,
    ReservationExpired,
)
from functions.bookings.service import Booked
from tests.concurrency.guards import execute, rewrite_function, sell_what_is_not_there, shows
from tests.concurrency.shop import CONTEXT, Shop
from tests.concurrency.till import Till
from tests.emulator_process import eventually

CLICKS = 30
MEMBERS = 100
TRIES = 20
# Where a few milliseconds decide: on a busy machine all of twenty may miss them.
MOST_TRIES = 200
LOCKED_HOLD = ("WHERE id = p_reservation_id FOR NO KEY UPDATE", "WHERE id = p_reservation_id")
LOCKED_CUSTOMER = ("FROM ticket_reservations WHERE id = p_reservation_id) FOR NO KEY UPDATE", "FROM ticket_reservations WHERE id = p_reservation_id)")  # fmt: skip


@pytest.fixture
def slot(shop: Shop) -> UUID:
    """A thousand units, for money, for a credit each, or to be paid on arrival."""
    slot = shop.slot(units=1000)
    shop.rows("UPDATE offerings SET pay_on_arrival = true, credits_price = 1")
    return slot


def grant(shop: Shop, user_id: str, number: int) -> None:
    shop.rows("SELECT grant_credits(%s, %s, NULL, 'a gift')", user_id, number)


def kinds(answers: Sequence[object]) -> Counter[type]:
    """How often each kind of answer was given."""
    return Counter(type(answer) for answer in answers)


# One hold, many clicks.


def click(shop: Shop, till: Till, slot: UUID, key: str | None) -> tuple[list[Booked | Exception], int]:
    """What many clicks at once are answered, and how many credits they have cost together."""
    user_id = f"user-{uuid4()}"
    grant(shop, user_id, CLICKS)
    hold_id = shop.hold({slot: 1})["id"]
    answers = shop.at_once(CLICKS, lambda _: till.book(hold_id, "credits", user_id=user_id, key=key))
    left = shop.value("SELECT balance FROM user_credits WHERE user_id = %s", user_id)
    return answers, CLICKS - left


def test_a_double_click_spends_once(shop: Shop, till: Till, slot: UUID) -> None:
    """Same key, same body, many at once: one 201, the others the same bytes again; one credit is spent."""
    answers, spent = click(shop, till, slot, "click")

    made = [answer for answer in answers if isinstance(answer, Booked)]
    assert len(made) == CLICKS, kinds(answers)
    assert Counter(answer.replayed for answer in made) == {False: 1, True: CLICKS - 1}
    assert {(answer.status, answer.body) for answer in made} == {(201, made[0].body)}
    assert spent == 1
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_the_holds_lock_a_double_click_spends_twice(
    shop: Shop, till: Till, slot: UUID
) -> None:
    """Negative control: without the locks on customer and hold, and one booking a hold behind them, it is spent again."""
    rewrite_function(shop.owner_url, "book_reservation", LOCKED_CUSTOMER, LOCKED_HOLD)
    execute(shop.owner_url, "ALTER TABLE bookings DROP CONSTRAINT bookings_one_a_reservation")
    sell_what_is_not_there(shop.owner_url)
    assert shows(lambda: click(shop, till, slot, None)[1] > 1)


# One seat, many members.


def test_of_a_hundred_members_one_books_the_last_one(shop: Shop, till: Till) -> None:
    """A hundred members at once hold and book the last one with credits: one booking, one credit spent in all.

    Its negative control: test_control_without_the_slots_lock_the_last_one_is_held_twice of test_holding.
    """
    slot = shop.slot(units=1)
    shop.rows("UPDATE offerings SET credits_price = 1")
    members = [f"user-{uuid4()}" for _ in range(MEMBERS)]
    for user_id in members:
        grant(shop, user_id, 1)

    def hold_and_book(number: int) -> Booked | str:
        hold = shop.hold({slot: 1})
        return (
            till.book(hold["id"], "credits", user_id=members[number])
            if hold["outcome"] == "held"
            else hold["outcome"]
        )

    answers = shop.at_once(MEMBERS, hold_and_book)

    assert answers.count("sold-out") == MEMBERS - 1, Counter(map(str, answers))
    assert kinds(answers)[Booked] == 1
    assert shop.rows("SELECT held_units, sold_units FROM slots") == [(0, 1)]
    assert shop.value("SELECT sum(balance) FROM user_credits") == MEMBERS - 1
    assert shop.violations() == []
    assert shop.deadlocks() == 0


# One credit, several holds.


def spend_the_last_one(shop: Shop, till: Till, slot: UUID) -> Counter[type]:
    """What is answered to whoever books four holds at once with one credit."""
    user_id = f"user-{uuid4()}"
    grant(shop, user_id, 1)
    holds = [shop.hold({slot: 1})["id"] for _ in range(4)]
    return kinds(
        shop.at_once(len(holds), lambda number: till.book(holds[number], "credits", user_id=user_id))
    )


def test_one_credit_is_one_booking(shop: Shop, till: Till, slot: UUID) -> None:
    """Four holds booked at once with one credit: one booking; the others lack credits and stay held."""
    for _ in range(TRIES):
        assert spend_the_last_one(shop, till, slot) == {Booked: 1, InsufficientCredits: 3}
    assert shop.rows("SELECT DISTINCT balance FROM user_credits") == [(0,)]
    assert shop.rows("SELECT held_units, sold_units FROM slots") == [(3 * TRIES, TRIES)]
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_the_lock_on_the_balance_one_credit_is_two_bookings(
    shop: Shop, till: Till, slot: UUID
) -> None:
    """Negative control: without the lock on the user's credits, and the checks behind it, one credit pays twice."""
    rewrite_function(shop.owner_url, "take_credits", ("WHERE user_id = p_user_id FOR NO KEY UPDATE", "WHERE user_id = p_user_id"))  # fmt: skip
    execute(
        shop.owner_url,
        "ALTER TABLE user_credits DROP CONSTRAINT user_credits_are_never_below_zero",
        "ALTER TABLE credit_grants DROP CONSTRAINT credit_grants_remain_within_their_amount",
    )
    assert shows(lambda: spend_the_last_one(shop, till, slot)[Booked] > 1)


# A payment that is open.

ROUNDS = [
    pytest.param(24, id="short"),
    pytest.param(600, id="long", marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
]


def pay_and_book(shop: Shop, till: Till) -> tuple[str, Booked | Exception]:
    """The open tab pays while another one books on arrival: what Stripe and `POST /bookings` say."""
    slot = shop.slot(units=1)
    hold_id = shop.hold({slot: 1})["id"]
    intent_id = json.loads(till.pay(hold_id, None).body)["payment_intent_id"]

    def confirm() -> str:
        try:
            return till.tell(till.confirm(intent_id))
        except stripe.InvalidRequestError:
            return "too late"

    def book() -> Booked:
        return till.book(hold_id, "pay_on_arrival")

    def pay_again() -> str:
        return f"{till.pay(hold_id, 'another tab').status}"

    confirmed, booked, _ = shop.all_at_once([confirm, book, pay_again])
    assert isinstance(confirmed, str), confirmed
    assert not isinstance(booked, str)
    assert confirmed == "too late" or shop.status(hold_id) == "completed"
    succeeded = [intent for intent in till.intents(hold_id) if intent.status == "succeeded"]
    assert len(succeeded) == (0 if confirmed == "too late" else 1)
    return confirmed, booked


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.usefixtures("slot")
def test_of_a_payment_and_a_booking_exactly_one_wins(shop: Shop, till: Till, rounds: int) -> None:
    """Paid and booked as paid, or booked on arrival and never charged; nobody is charged to be refunded."""
    ends = Counter[str]()
    for _ in range(rounds):
        confirmed, booked = pay_and_book(shop, till)
        if confirmed == "too late":
            # The third tab may have a new payment under way: then its caller comes again.
            assert isinstance(booked, Booked | RequestInProgress), booked
        else:
            assert isinstance(booked, AlreadyPaid | RequestInProgress | PaymentProviderUnavailable), booked
        ends[confirmed] += 1
    assert shop.value("SELECT count(*) FROM refunds") == 0
    assert shop.rows("SELECT count(*) FROM bookings b JOIN payment_intents_log p ON p.id = b.payment_id") == [
        (rounds - ends["too late"],)
    ]
    assert shop.violations() == []
    assert shop.deadlocks() == 0


@pytest.mark.usefixtures("slot")
def test_control_without_closing_the_payment_a_booked_hold_is_charged(shop: Shop, till: Till) -> None:
    """Negative control: where an open payment is in nobody's way, the open tab pays for what is booked already."""
    rewrite_function(
        shop.owner_url,
        "book_reservation",
        ("WHEN v_hold.payment_id IS NOT NULL AND", "WHEN false AND"),
        ("IF v_hold.payment_id IS NOT NULL THEN", "IF false THEN"),
    )

    def race() -> bool:
        pay_and_book(shop, till)
        return shop.value("SELECT count(*) > 0 FROM refunds WHERE reason = 'booked-otherwise'")

    assert shows(race)


# Credits and seats, spent and given back.


def buy_and_cancel(shop: Shop, till: Till) -> list[object]:
    """One user's bookings of two evenings are cancelled while as many are made; half of them name the evenings backwards."""
    one, two = shop.slot(units=20), shop.slot(units=20)
    user_id = f"user-{uuid4()}"
    grant(shop, user_id, 100)
    holds = [shop.hold({one: 1, two: 1} if number % 2 else {two: 1, one: 1})["id"] for number in range(12)]
    made = [json.loads(till.book(hold, "credits", user_id=user_id).body)["id"] for hold in holds[:6]]

    def cancel(booking_id: str) -> object:
        return shop.database().run(
            lambda conn: changing.cancel_booking(
                conn, UUID(booking_id), change_id=uuid4(), version=1, policy=((0, 100),), context=CONTEXT
            )
        )["outcome"]

    acts: list[Callable[[], object]] = [partial(cancel, booking) for booking in made]
    acts += [partial(till.book, hold, "credits", user_id=user_id) for hold in holds[6:]]
    return list(shop.all_at_once(acts))


@pytest.mark.usefixtures("slot")
def test_booking_and_cancelling_at_once_end_without_a_deadlock(shop: Shop, till: Till) -> None:
    """Seats and credits go and come back, each once: credits are locked before slots, and slots in one order."""
    for _ in range(5):
        answers = buy_and_cancel(shop, till)
        assert answers[:6] == ["cancelled"] * 6
        assert kinds(answers[6:]) == {Booked: 6}
    assert shop.rows("SELECT DISTINCT balance FROM user_credits") == [(88,)]
    assert shop.violations() == []
    assert shop.deadlocks() == 0


@pytest.mark.usefixtures("slot")
def test_control_with_slots_locked_before_credits_there_are_deadlocks(shop: Shop, till: Till) -> None:
    """Negative control: a booking that takes its slots first meets a cancellation that has the credits."""
    first = "v_now := clock_timestamp();"
    rewrite_function(
        shop.owner_url,
        "book_reservation",
        (first, f"{first} PERFORM lock_slots_of(ARRAY[p_reservation_id]);"),
    )

    def race() -> bool:
        buy_and_cancel(shop, till)
        return shop.deadlocks() > 0

    assert shows(race)


# The end of a hold.

SLOWLY = (
    "v_now := clock_timestamp();",
    "v_now := clock_timestamp(); PERFORM pg_sleep_until(v_hold.expires_at + interval '50 ms');",
)


def book_at_the_end(shop: Shop, till: Till, seconds: float) -> tuple[Booked | Exception, object]:
    """The last unit is booked so many seconds before its hold is over, and is swept and wanted by others just after."""
    slot = shop.slot(units=1)
    hold_id = shop.hold({slot: 1})["id"]
    shop.rows(
        "UPDATE ticket_reservations SET expires_at = clock_timestamp() + interval '70 ms' WHERE id = %s",
        hold_id,
    )

    def wait(seconds: float) -> None:
        query = "SELECT pg_sleep_until(expires_at + make_interval(secs => %s)) FROM ticket_reservations WHERE id = %s"
        shop.connection().execute(query, [seconds, hold_id])

    def book() -> Booked:
        wait(-seconds)
        return till.book(hold_id, "pay_on_arrival")

    def want() -> str:
        wait(0.002)
        return shop.hold({slot: 1})["outcome"]

    def sweep() -> None:
        wait(0.002)
        till.clean_up()

    booked, wanted, _ = shop.all_at_once([book, want, sweep])
    assert isinstance(booked, Booked | Exception)
    return booked, wanted


@pytest.mark.usefixtures("slot")
def test_at_its_end_a_hold_is_booked_or_gone(shop: Shop, till: Till) -> None:
    """Booked, and nobody else has the seat; or expired, and somebody else may have it. However slow the booking is."""
    rewrite_function(shop.owner_url, "book_reservation", SLOWLY)
    ends = Counter[bool]()
    for number in range(MOST_TRIES):
        booked, wanted = book_at_the_end(shop, till, 0.05 if number % 2 else -0.001)
        assert isinstance(booked, Booked | ReservationExpired), booked
        assert wanted == "sold-out" or (wanted == "held" and isinstance(booked, ReservationExpired))
        ends[isinstance(booked, Booked)] += 1
        if number >= TRIES and len(ends) == 2:
            break
    assert set(ends) == {True, False}
    assert shop.violations() == []
    assert shop.deadlocks() == 0


@pytest.mark.usefixtures("slot")
def test_control_without_the_holds_lock_a_hold_that_is_gone_is_booked(shop: Shop, till: Till) -> None:
    """Negative control: a booking that does not lock its hold sells seats that somebody else has."""
    rewrite_function(shop.owner_url, "book_reservation", SLOWLY, LOCKED_HOLD)
    sell_what_is_not_there(shop.owner_url)

    def race() -> bool:
        book_at_the_end(shop, till, 0.05)
        return bool(shop.violations())

    assert shows(race)


# The limit of holds.


def hold_while_the_last_is_booked(shop: Shop, till: Till, slot: UUID) -> object:
    """What a customer with five is answered for a sixth, while the fifth is booked at the moment of its end."""
    email = shop.buyer()
    for _ in range(4):
        till.book(shop.hold({slot: 1}, email=email)["id"], "pay_on_arrival")
    last = shop.hold({slot: 1}, email=email)["id"]
    with psycopg.connect(shop.app_url) as booking:
        outcome = None
        while outcome != ("booked",):  # in time, before the hold is over
            booking.rollback()
            shop.rows(
                "UPDATE ticket_reservations SET expires_at = clock_timestamp() + interval '2 seconds' WHERE id = %s",
                last,
            )
            outcome = booking.execute(
                "SELECT book_reservation(gen_random_uuid(), %s, 'pay_on_arrival', NULL, '1 second') ->> 'outcome'",
                [last],
            ).fetchone()
        booking.execute("SELECT pg_sleep_until(expires_at) FROM ticket_reservations WHERE id = %s", [last])
        with ThreadPoolExecutor() as pool:
            sixth = pool.submit(lambda: shop.hold({slot: 1}, email=email)["outcome"])
            eventually(lambda: sixth.done() or shop.waiting() > 0)
            booking.commit()
            return sixth.result()


def test_a_booking_counts_from_the_moment_at_which_its_hold_does_not(
    shop: Shop, till: Till, slot: UUID
) -> None:
    """A sixth is refused, even while the fifth is being booked and its hold's time is over."""
    assert hold_while_the_last_is_booked(shop, till, slot) == "too-many-holds"


def test_control_without_the_customers_lock_there_are_six(shop: Shop, till: Till, slot: UUID) -> None:
    """Negative control: where a booking does not stand in its customer's queue, nobody counts it."""
    rewrite_function(shop.owner_url, "book_reservation", LOCKED_CUSTOMER)
    assert hold_while_the_last_is_booked(shop, till, slot) == "held"
