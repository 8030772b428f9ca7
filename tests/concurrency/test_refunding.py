"""Refunds of ours, of people and of disputes, all about one payment at once."""

import json
import random
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import Cursor

from database import changing
from database.connection import Connection
from domain.refusals import EventNotApplied, PaymentProviderUnavailable
from payments import ledger
from tests.concurrency.guards import execute, rewrite_function, shows
from tests.concurrency.shop import CONTEXT, PRICE, Shop
from tests.concurrency.till import Till

PARTS = 9


def refund_due(shop: Shop, till: Till, card: str = "pm_card_visa") -> str:
    """The intent of a payment whose money is to go back: its buyer had cancelled."""
    hold = shop.hold({shop.slot(units=5): 1})["id"]
    intent_id: str = json.loads(till.pay(hold, None).body)["payment_intent_id"]
    event = till.confirm(intent_id, card)
    shop.rows("SELECT release_holds(ARRAY[%s]::uuid[], 'cancelled')", hold)
    assert till.tell(event) == "processed"
    return intent_id


def said(till: Till, intent_id: str, *types: str) -> list[dict[str, Any]]:
    """Stripe's events of these types about the intent."""
    listed = till.stripe.events.list({"limit": 100, "types": list(types)}).auto_paging_iter()
    return [event.to_dict() for event in listed if event.data.object["payment_intent"] == intent_id]


def telling(till: Till, event: dict[str, Any]) -> Callable[[], str]:
    """Tells it until it is taken, as Stripe does."""

    def tell() -> str:
        while True:
            try:
                return till.tell(event)
            except EventNotApplied:
                continue

    return tell


def refunds(shop: Shop, intent_id: str) -> list[tuple[Any, ...]]:
    """Our rows of what Stripe has made."""
    return shop.rows(
        """
        SELECT f.amount, f.status FROM refunds f JOIN payment_intents_log p ON p.id = f.payment_id
        WHERE p.payment_intent_id = %s AND f.stripe_refund_id IS NOT NULL ORDER BY f.amount, f.id
        """,
        intent_id,
    )


def by_hand_at_once(shop: Shop, till: Till, *, deliver: bool) -> str:
    """A person gives nine parts back by hand while ours waits, or is being sent; the nine are told at once."""
    intent_id = refund_due(shop, till)
    for _ in range(PARTS):
        till.stripe.refunds.create({"payment_intent": intent_id, "amount": PRICE // 10})
    acts = [telling(till, event) for event in said(till, intent_id, "refund.created")]
    acts += [lambda: str(till.deliver())] * deliver
    random.shuffle(acts)
    answers = shop.all_at_once(acts)
    assert not [answer for answer in answers if isinstance(answer, Exception)], answers
    return intent_id


def test_refunds_by_hand_beside_ours_come_to_what_was_paid(shop: Shop, till: Till) -> None:
    """Whoever is first: all of the money goes back once, and each refund of Stripe's is one row of ours."""
    for _ in range(4):
        intent_id = by_hand_at_once(shop, till, deliver=True)
        shop.rows("UPDATE outbox SET next_attempt_at = now(), lease_until = now() WHERE status = 'pending'")
        till.deliver()
        alive = till.stripe.refunds.list({"payment_intent": intent_id, "limit": 100}).data
        assert sorted(made.amount for made in alive) == [PRICE // 10] * 10
        assert refunds(shop, intent_id) == [(PRICE // 10, "succeeded")] * 10
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_the_payments_lock_ours_is_reckoned_from_before(shop: Shop, till: Till) -> None:
    """Negative control: where the ledger is read without the payment's lock, ours stays too large for what is left."""
    rewrite_function(shop.owner_url, "lock_payment", ("FOR NO KEY UPDATE", ""))
    execute(shop.owner_url, "ALTER TABLE refunds DISABLE TRIGGER refunds_never_exceed_the_payment")

    def race() -> bool:
        by_hand_at_once(shop, till, deliver=False)
        return "refunds never exceed what was paid" in {row[0] for row in shop.violations()}

    assert shows(race)


def disputed_in_flight(shop: Shop, till: Till) -> tuple[str, UUID]:
    """Our refund is on its way while the customer's bank disputes the payment, and both are told at once."""
    intent_id = refund_due(shop, till)
    status, _ = till.emulator.act("/disputes", payment_intent=intent_id)
    assert status == 200
    acts: list[Callable[[], str]] = [
        telling(till, event)
        for event in said(till, intent_id, "charge.dispute.created", "charge.dispute.funds_withdrawn")
    ]
    acts += [lambda: str(till.deliver())] * 2
    answers = shop.all_at_once(acts)
    assert not [answer for answer in answers if isinstance(answer, Exception)], answers
    payment_id = shop.value("SELECT id FROM payment_intents_log WHERE payment_intent_id = %s", intent_id)
    return intent_id, payment_id


def test_a_dispute_against_a_refund_in_flight_supersedes_it(shop: Shop, till: Till) -> None:
    """Stripe refuses ours, the dispute has the money: nothing is sent, nothing is asked for any more."""
    for _ in range(6):
        intent_id, payment_id = disputed_in_flight(shop, till)
        assert shop.rows("SELECT status FROM refunds WHERE payment_id = %s", payment_id) == [("canceled",)]
        assert till.stripe.refunds.list({"payment_intent": intent_id}).data == []
    assert shop.rows("SELECT DISTINCT status FROM outbox WHERE kind = 'refund'") == [("canceled",)]
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_a_refund_that_knows_of_no_dispute_is_asked_for_beside_it(shop: Shop, till: Till) -> None:
    """Negative control: where the ledger is read without its disputes, the refund waits on while the bank has the money."""
    rewrite_function(shop.owner_url, "payment_ledger", ("WHERE d.payment_id = p.id", "WHERE false"))
    asked_for = "a refund that waits is asked for, unless a dispute has the money"

    def race() -> bool:
        disputed_in_flight(shop, till)
        return asked_for in {row[0] for row in shop.violations()}

    assert shows(race)


def paid_unheard_of(shop: Shop, till: Till) -> tuple[str, dict[str, Any]]:
    """A paid intent whose id has never reached us, and the event that brings it."""
    hold = shop.hold({shop.slot(units=1): 1})["id"]
    till.emulator.faults(
        responses=[{"method": "POST", "path": "/v1/payment_intents", "times": 3, "timeout_after": True}]
    )
    with pytest.raises(PaymentProviderUnavailable):
        till.pay(hold, None)
    till.emulator.faults()
    (made,) = till.intents(hold)
    return made.id, till.confirm(made.id)


def test_a_dispute_writes_nothing_over_a_payment_that_it_has_not_locked(
    shop: Shop, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim finds no payment; before it reads the ledger the payment is booked, and afterwards cancelled.

    What it does is led by hand, each step of the two others between two of its own: no race, and no control of one.
    """
    intent_id, paid = paid_unheard_of(shop, till)
    assert till.emulator.act("/disputes", payment_intent=intent_id)[0] == 200
    (disputed,) = said(till, intent_id, "charge.dispute.created")
    read_ledger = ledger.read_ledger

    def cancel() -> str:
        (booking_id,) = shop.rows("SELECT id FROM bookings")[0]
        return changing.cancel_booking(
            shop.connection(), booking_id, change_id=uuid4(), version=1, policy=((0, 100),), context=CONTEXT
        )["answer"]["status"]

    def read_late(conn: Connection, payment_intent_id: str | None) -> Cursor[tuple[Any, ...]]:
        monkeypatch.setattr(ledger, "read_ledger", read_ledger)
        conn.execute("SELECT 1").fetchone()  # what was sent until here has been done
        assert shop.all_at_once([lambda: till.tell(paid)]) == ["processed"]
        cursor = read_ledger(conn, payment_intent_id)
        conn.execute("SELECT 1").fetchone()
        assert shop.all_at_once([cancel]) == ["cancelled"]
        return cursor

    monkeypatch.setattr(ledger, "read_ledger", read_late)
    assert till.tell(disputed) == "processed"
    assert shop.rows("SELECT status FROM bookings") == [("cancelled",)]
    assert shop.violations() == []


def failed_twice_at_once(shop: Shop, till: Till) -> tuple[Any, ...]:
    """A refund of ours fails; both of its events are told five times at once: (status, key, failed at Stripe)."""
    intent_id = refund_due(shop, till)
    till.deliver()
    refund_id = shop.value(
        "SELECT stripe_refund_id FROM refunds f JOIN payment_intents_log p ON p.id = f.payment_id WHERE payment_intent_id = %s",
        intent_id,
    )
    assert till.emulator.act(f"/refunds/{refund_id}", outcome="failed")[0] == 200
    events = said(till, intent_id, "refund.failed", "refund.updated")
    acts = [telling(till, event) for event in events for _ in range(5)]
    answers = shop.all_at_once(acts)
    assert not [answer for answer in answers if isinstance(answer, Exception)], answers
    return shop.rows(
        """
        SELECT f.status, f.key_number, cardinality(f.failed_stripe_refund_ids)
        FROM refunds f JOIN payment_intents_log p ON p.id = f.payment_id WHERE p.payment_intent_id = %s
        """,
        intent_id,
    )[0]


def test_a_failed_refund_that_is_told_twice_at_once_is_sent_again_once(shop: Shop, till: Till) -> None:
    """One failure, one new key, one row in the outbox."""
    for _ in range(4):
        assert failed_twice_at_once(shop, till) == ("pending", 2, 1)
    assert shop.value("SELECT count(*) FROM outbox WHERE kind = 'refund'") == 4
    assert shop.violations() == []
    assert shop.deadlocks() == 0


def test_control_without_the_memory_of_what_failed_a_failure_counts_twice(shop: Shop, till: Till) -> None:
    """Negative control: where the ledger forgets which of Stripe's refunds have failed, each telling is another failure."""
    rewrite_function(
        shop.owner_url,
        "payment_ledger",
        ("jsonb_agg(to_jsonb(f)", """jsonb_agg(to_jsonb(f) || '{"failed_stripe_refund_ids": []}'"""),
    )
    assert shows(lambda: failed_twice_at_once(shop, till)[1] > 2)
