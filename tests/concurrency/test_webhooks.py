"""The same fact many times at once, and facts against the clean-up."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import pytest
import stripe

from database.holds import release_expired
from domain.refusals import EventNotApplied
from tests.concurrency.guards import execute, rewrite_function, shows
from tests.concurrency.shop import CONTEXT, PRICE, Shop, succeeded_event
from tests.concurrency.till import Till

DELIVERIES = 50


def deliver_fifty_times(shop: Shop, till: Till) -> tuple[list[str | Exception], list[int], UUID]:
    """What each delivery was answered, and how many bookings there were at that moment."""
    hold_id = shop.hold({shop.slot(units=5): 1})["id"]
    event = succeeded_event(shop.with_payment(hold_id))
    bookings: list[int] = []

    def deliver(_: int) -> str:
        outcome = till.tell(event)
        bookings.append(
            shop.value("SELECT count(*)::integer FROM bookings WHERE reservation_id = %s", hold_id)
        )
        return outcome

    return shop.at_once(DELIVERIES, deliver), bookings, hold_id


def test_an_event_delivered_fifty_times_at_once_is_one_booking(shop: Shop, till: Till) -> None:
    """One event, fifty deliveries at once: one booking, one notification; no answer before the booking is there."""
    answers, bookings, _ = deliver_fifty_times(shop, till)

    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert {type(answer) for answer in refused} <= {EventNotApplied}
    told = Counter(answer for answer in answers if isinstance(answer, str))
    assert told == {"processed": 1, "duplicate": DELIVERIES - 1 - len(refused)}
    assert set(bookings) == {1}
    assert shop.value("SELECT count(*) FROM outbox WHERE kind = 'notification'") == 1
    assert shop.rows("SELECT status FROM webhook_events_log") == [("processed",)]
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_claim_and_locks_an_event_is_several_bookings(shop: Shop, till: Till) -> None:
    """Negative control: without the event's claim, the locks and the unique keys behind them, it books many times."""
    rewrite_function(
        shop.owner_url,
        "claim_webhook_event",
        ("ON CONFLICT (event_id) DO UPDATE SET deliveries = e.deliveries + excluded.deliveries", ""),
    )
    rewrite_function(shop.owner_url, "lock_payment", ("FOR NO KEY UPDATE", ""))
    rewrite_function(shop.owner_url, "lock_slots_of", ("ORDER BY id FOR NO KEY UPDATE", ""))
    rewrite_function(shop.owner_url, "sell_held_seats", ("held_units = s.held_units - i.units,", ""), ("held_bookings = s.held_bookings - 1,", ""))  # fmt: skip
    rewrite_function(shop.owner_url, "settle_webhook_event", ("WHERE event_id = p_event_id", "WHERE false"))
    execute(
        shop.owner_url,
        "ALTER TABLE webhook_events_log DROP CONSTRAINT webhook_events_log_pkey",
        "ALTER TABLE bookings DROP CONSTRAINT bookings_one_a_reservation, DROP CONSTRAINT bookings_one_a_payment",
    )

    def race() -> bool:
        _, _, hold_id = deliver_fifty_times(shop, till)
        return shop.value("SELECT count(*) > 1 FROM bookings WHERE reservation_id = %s", hold_id)

    assert shows(race)


def clean_up_against_buyers(
    shop: Shop, till: Till, rounds: int, *, at_a_time: int = 8
) -> Counter[tuple[str, str]]:
    """(Stripe's last word, what became of the hold) of holds that are over just when their buyers pay."""
    ends = Counter[tuple[str, str]]()
    for _ in range(rounds // at_a_time):
        slot = shop.slot(units=at_a_time)
        holds = [shop.hold({slot: 1})["id"] for _ in range(at_a_time)]
        intents = [json.loads(till.pay(hold, None).body)["payment_intent_id"] for hold in holds]
        shop.expire(*holds)

        def buy(intent_id: str) -> str:
            time.sleep(random.uniform(0, 0.08))  # some before the clean-up gets there, some after
            try:
                return till.tell(till.confirm(intent_id))
            except stripe.InvalidRequestError:
                return "too late"

        def clean(_: str = "") -> str:
            till.clean_up()
            return "cleaned"

        acts: list[Callable[[], str]] = [clean]
        acts += [lambda intent_id=intent_id: buy(intent_id) for intent_id in intents]
        answers = shop.all_at_once(acts)
        assert not [answer for answer in answers if isinstance(answer, Exception)], answers
        for hold, intent_id in zip(holds, intents, strict=True):
            ends[till.stripe.payment_intents.retrieve(intent_id).status, shop.status(hold)] += 1
    return ends


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(200, id="short"),
        pytest.param(4000, id="long", marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
)
def test_of_clean_up_and_success_exactly_one_wins(shop: Shop, till: Till, rounds: int) -> None:
    """Clean-up against the success webhook, hundreds of times: paid and booked, or cancelled and released."""
    ends = clean_up_against_buyers(shop, till, rounds)
    for _ in range(50):
        if len(ends) > 1:
            break
        ends += clean_up_against_buyers(shop, till, 8)

    assert set(ends) <= {("succeeded", "completed"), ("canceled", "expired")}, ends
    assert len(ends) == 2, "the race was no race"
    assert shop.value("SELECT count(*) FROM refunds") == 0
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_a_clean_up_that_does_not_ask_stripe_releases_paid_holds(shop: Shop, till: Till) -> None:
    """Negative control: where holds are released although a payment is open, money comes in for seats that are gone."""
    rewrite_function(shop.owner_url, "cleanup_expired_reservations", ("AND payment_id IS NULL", ""))
    shop.rows(
        """
        CREATE TABLE ends AS SELECT id, status FROM ticket_reservations WITH NO DATA;
        CREATE FUNCTION keep_end() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO ends VALUES (NEW.id, NEW.status); RETURN NULL; END $$;
        CREATE TRIGGER keep_end AFTER UPDATE OF status ON ticket_reservations
            FOR EACH ROW WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION keep_end();
        GRANT INSERT ON ends TO app
        """
    )

    expired_and_paid = "SELECT count(*) > 0 FROM ends a JOIN ends b USING (id) WHERE (a.status, b.status) = ('expired', 'completed')"

    def race() -> bool:
        clean_up_against_buyers(shop, till, 8)
        return shop.value(expired_and_paid)

    assert shows(race)


def full_slot_of_the_dead(shop: Shop) -> list[str | Exception]:
    """Buyers, confirming webhooks of live and of late money, and clean-ups, all for one full slot of dead holds."""
    slot = shop.slot(units=30)
    other = shop.slot(units=60)
    unpaid = [shop.hold({slot: 1, other: 1})["id"] for _ in range(10)]
    paid = [shop.hold({other: 1, slot: 1})["id"] for _ in range(20)]
    intents = [shop.with_payment(hold) for hold in paid]
    shop.expire(*unpaid, *paid)
    late = intents[10:]
    for intent_id in late:
        payment_id, attempt = shop.rows(
            "SELECT id, attempt FROM payment_intents_log WHERE payment_intent_id = %s", intent_id
        )[0]
        shop.rows("SELECT finish_close(%s, %s)", payment_id, attempt)
    acts: list[Callable[[], str]] = [
        lambda number=number: shop.hold({slot: 1} if number % 2 else {other: 1, slot: 1})["outcome"]
        for number in range(50)
    ]
    acts += [lambda intent_id=intent_id: shop.succeeded(intent_id, amount=2 * PRICE) for intent_id in intents]
    acts += [
        lambda: f"{release_expired(shop.connection(), limit=2, context=CONTEXT)} released" for _ in range(20)
    ]
    random.shuffle(acts)
    return shop.all_at_once(acts)


def test_buyers_and_webhooks_share_a_full_slot_of_dead_holds(shop: Shop) -> None:
    """A full slot of expired holds, fifty buyers, their confirming webhooks and clean-ups at once: every seat once."""
    for _ in range(4):
        answers = full_slot_of_the_dead(shop)
        assert not [answer for answer in answers if isinstance(answer, Exception)], answers

    assert shop.violations() == []
    assert shop.deadlocks() == 0
    for (slot,) in shop.rows("SELECT id FROM slots WHERE max_units = 30"):
        while shop.hold({slot: 1})["outcome"] == "held":
            pass
        assert shop.value("SELECT held_units + sold_units FROM slots WHERE id = %s", slot) == 30


def test_control_slots_locked_before_the_dead_holds_deadlock(shop: Shop) -> None:
    """Negative control: the obvious order, slots first and then whoever is dead on them, deadlocks."""
    rewrite_function(
        shop.owner_url,
        "reserve_tickets",
        (
            "v_expired := ARRAY(",
            "PERFORM 1 FROM slots WHERE id = ANY (v_slots) ORDER BY id FOR NO KEY UPDATE; v_expired := ARRAY(",
        ),
        ("FOR NO KEY UPDATE SKIP LOCKED", "FOR NO KEY UPDATE"),
    )

    def race() -> bool:
        full_slot_of_the_dead(shop)
        return shop.deadlocks() > 0

    assert shows(race)
