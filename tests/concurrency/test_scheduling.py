"""A schedule changes while its slots are being held, and while others change it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg.errors import DeadlockDetected

from database.changing import reschedule_booking
from database.schedules import refresh_future_schedule
from tests.concurrency.guards import rewrite_function, shows
from tests.concurrency.shop import CONTEXT, Shop

BUYERS = 50
MONDAY = datetime.now(UTC).date() + timedelta(days=14 - datetime.now(UTC).date().weekday())
# Fifty times in one week.
RULES: list[dict[str, Any]] = [
    {"weekday": n % 5, "start": f"{8 + n // 5:02}:00", "minutes": 60, "max_bookings": 1, "max_units": 1}
    for n in range(BUYERS)
]
LATER = [{**rule, "start": rule["start"].replace(":00", ":30")} for rule in RULES]
LOCK = """
    PERFORM 1 FROM slots
    WHERE offering_id = v_offering AND starts_at >= v_begin AND starts_at < v_end AND starts_at > now()
    ORDER BY id FOR UPDATE;
"""


def offering(shop: Shop) -> str:
    return shop.value(
        "INSERT INTO offerings (slug, name, kind, unit_amount, currency, timezone)"
        " VALUES (%s, 'Yoga', 'class', 4500, 'eur', 'Europe/Vienna') RETURNING slug",
        f"yoga-{uuid4()}",
    )


def refresh(
    shop: Shop, slug: str, rules: list[dict[str, Any]], resource: UUID | None = None
) -> dict[str, Any]:
    """One change of a schedule, on this thread's bare connection."""
    return refresh_future_schedule(
        shop.connection(),
        slug=slug,
        timezone="Europe/Vienna",
        rules=rules,
        first=MONDAY,
        last=MONDAY + timedelta(days=6),
        blackouts=[],
        resource_id=resource,
        context=CONTEXT,
    )


def slots(shop: Shop, slug: str) -> list[UUID]:
    return [
        slot
        for (slot,) in shop.rows(
            "SELECT s.id FROM slots s JOIN offerings o ON o.id = s.offering_id WHERE o.slug = %s", slug
        )
    ]


def close_while_fifty_hold(shop: Shop) -> tuple[list[Any], dict[str, Any], int, int]:
    """Fifty slots, a buyer each, and meanwhile a schedule without any rule.

    Answers what the buyers and the administrator were answered, how many slots are held then, and how many are legacy.
    Every other slot has been held before, so it is not deleted but retired.
    """
    slug = offering(shop)
    refresh(shop, slug, RULES)
    wanted = slots(shop, slug)
    for slot in wanted[::2]:
        ended = shop.hold({slot: 1})["id"]
        shop.rows("SELECT begin_close(%s, 'cancelled', '1 second')", ended)
    holds: list[Callable[[], dict[str, Any]]] = [lambda slot=slot: shop.hold({slot: 1}) for slot in wanted]

    *answers, answer = shop.all_at_once([*holds, lambda: refresh(shop, slug, [])])

    held, kept = shop.rows(
        "SELECT count(*) FILTER (WHERE held_units > 0), count(*) FILTER (WHERE is_legacy) FROM slots WHERE id = ANY (%s)",
        wanted,
    )[0]
    assert isinstance(answer, dict), answer
    return answers, answer, held, kept


def test_a_slot_goes_or_is_held_and_never_both(shop: Shop) -> None:
    """A hold that comes before the change is honoured; one that comes after is refused; the answer counts them exactly."""
    for _ in range(4):
        answers, answer, held, kept = close_while_fifty_hold(shop)

        outcomes = [given["outcome"] for given in answers]
        assert set(outcomes) <= {"held", "slot-closed", "unknown-slot"}
        assert outcomes.count("held") == held == answer["legacy"]
        assert answer["deleted"] == BUYERS - held
        assert kept >= max(held, BUYERS // 2)
        assert shop.value("SELECT count(*) FROM slots WHERE NOT is_legacy") == 0
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_the_slots_locks_the_answer_is_wrong(shop: Shop) -> None:
    """Negative control: where slots are judged before they are locked, some are held that were counted as empty."""
    rewrite_function(shop.owner_url, "refresh_future_schedule", (LOCK, ""))

    def race() -> bool:
        try:
            _, answer, held, _ = close_while_fifty_hold(shop)
        except AssertionError:
            return True
        return answer["legacy"] != held

    assert shows(race)


def test_control_a_hold_that_does_not_look_again_gets_a_slot_that_is_gone(shop: Shop) -> None:
    """Negative control: where a hold trusts what it read before the lock, it gets a seat that nobody sells any more."""
    rewrite_function(shop.owner_url, "reserve_tickets", ("IF v_outcome IS NOT NULL THEN", "IF false THEN"))

    def race() -> bool:
        answers, answer, held, _ = close_while_fifty_hold(shop)
        return held > answer["legacy"] or any(isinstance(given, Exception) for given in answers)

    assert shows(race)


def close_while_ten_move(shop: Shop) -> tuple[list[Any], dict[str, Any]]:
    """Ten bookings move to a slot each, all of which go meanwhile: what all were answered."""
    slug = offering(shop)
    refresh(shop, slug, [{**RULES[0], "max_bookings": 10, "max_units": 10}, *RULES[1:11]])
    first, *others = sorted(
        slots(shop, slug), key=lambda slot: shop.value("SELECT max_units FROM slots WHERE id = %s", slot) < 10
    )
    bookings: list[UUID] = []
    for _ in others:
        hold_id = shop.hold({first: 1})["id"]
        shop.succeeded(shop.with_payment(hold_id))
        bookings.append(shop.value("SELECT id FROM bookings WHERE reservation_id = %s", hold_id))
    moves: list[Callable[[], dict[str, Any]]] = [
        lambda booking=booking, slot=slot: reschedule_booking(
            shop.connection(),
            booking,
            change_id=uuid4(),
            version=1,
            item_id=None,
            slot_id=slot,
            policy=((24, 100),),
            context=CONTEXT,
        )
        for booking, slot in zip(bookings, others, strict=True)
    ]

    *answers, answer = shop.all_at_once([*moves, lambda: refresh(shop, slug, [])])

    assert isinstance(answer, dict), answer
    return answers, answer


def test_a_booking_moves_to_a_slot_before_it_goes_or_not_at_all(shop: Shop) -> None:
    """Moved, and the slot stays as legacy; or refused, and the booking is where it was."""
    for _ in range(4):
        answers, answer = close_while_ten_move(shop)

        outcomes = [given["outcome"] for given in answers]
        assert set(outcomes) <= {"rescheduled", "slot-closed", "unknown-slot"}
        moved = outcomes.count("rescheduled")
        assert (answer["legacy"], answer["deleted"]) == (moved + (moved < 10), 10 - moved + (moved == 10))
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_a_move_that_does_not_look_again_is_an_error(shop: Shop) -> None:
    """Negative control: where a move trusts what it read before the lock, it names a slot that is gone."""
    gone = "NOT EXISTS (SELECT FROM slots WHERE id = p_slot_id) OR EXISTS ("
    locked = "PERFORM 1 FROM slots WHERE id = ANY (v_slots) ORDER BY id"
    rewrite_function(
        shop.owner_url,
        "reschedule_booking",
        (gone, "EXISTS ("),
        (locked, f"PERFORM pg_sleep(0.2); {locked}"),  # long enough for the change to come between, whole
    )
    assert shows(lambda: any(isinstance(given, Exception) for given in close_while_ten_move(shop)[0]))


def eight_changes_at_once(shop: Shop) -> tuple[list[Any], int, int]:
    """Two schedules, each said four times: the answers, and how many slots and how many different times there are."""
    slug = offering(shop)
    answers = shop.at_once(8, lambda n: refresh(shop, slug, RULES if n % 2 else LATER))
    found = shop.rows(
        "SELECT count(*), count(DISTINCT starts_at) FROM slots WHERE id = ANY (%s)", slots(shop, slug)
    )
    return answers, *found[0]


def test_changes_of_one_schedule_follow_each_other(shop: Shop) -> None:
    """Whatever comes last, its times are there, each once, and every answer adds up."""
    answers, there, times = eight_changes_at_once(shop)

    assert (there, times) == (BUYERS, BUYERS)
    assert [given["created"] + given["kept"] for given in answers] == [BUYERS] * 8
    assert sum(given["created"] - given["deleted"] for given in answers) == BUYERS
    assert shop.deadlocks() == 0


def test_control_without_the_offerings_lock_a_time_is_made_twice(shop: Shop) -> None:
    """Negative control: where the offering's row is no queue, two changes make the same times."""
    locked = "WHERE slug = p_slug FOR NO KEY UPDATE;"
    rewrite_function(shop.owner_url, "refresh_future_schedule", (locked, "WHERE slug = p_slug;"))

    def race() -> bool:
        _, there, times = eight_changes_at_once(shop)
        return there > times

    assert shows(race)


def swap(shop: Shop, rounds: int) -> list[Any]:
    """Two offerings exchange two rooms, again and again: what went wrong."""
    rooms = uuid4(), uuid4()
    slugs = offering(shop), offering(shop)

    def one(number: int) -> None:
        for turn in range(rounds):
            refresh(shop, slugs[number], RULES, rooms[(number + turn) % 2])

    return [raised for raised in shop.at_once(2, one) if raised is not None]


def test_offerings_that_exchange_their_rooms_do_not_deadlock(shop: Shop) -> None:
    """Each wants what the other just gives back: one waits for the other, and no time of a room is sold by both."""
    assert swap(shop, 15) == []
    assert shop.deadlocks() == 0


def test_control_without_the_rooms_locks_they_deadlock(shop: Shop) -> None:
    """Negative control: where only the slots themselves are waited for, they are waited for crosswise."""
    rewrite_function(
        shop.owner_url,
        "refresh_future_schedule",
        ("pg_advisory_xact_lock(hashtextextended(resource::text, 0))", "resource"),
    )
    assert shows(lambda: any(isinstance(raised, DeadlockDetected) for raised in swap(shop, 15)))
