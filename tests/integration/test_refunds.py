"""Refunds: ours, and those that a person makes at Stripe; pending, failed, told in any order, sent once."""

from collections.abc import Generator
from random import Random
from typing import Any

import pytest

from tests.support.app import App, Payment
from tests.support.logs import Logs
from tests.support.postgres import on_every_postgres
from tests.support.receiver import Receiver, receiving
from tests.support.stripe_events import event_of


@pytest.fixture(autouse=True)
def site(app: App) -> Generator[Receiver]:
    """The site's back end; and a bank that lets nothing end before a test says so."""
    app.emulator.faults(settle_s=3600)
    with receiving() as receiver:
        app.set(NOTIFICATION_WEBHOOK_URL=f"{receiver.url}/told")
        yield receiver


def booked(app: App, card: str = "pm_card_visa") -> Payment:
    payment = app.payment(app.hold(app.slot()))
    app.confirm(payment, card)
    assert app.outcome(app.event(payment.intent_id, "payment_intent.succeeded")) == "processed"
    return payment


def refund_due(app: App, card: str = "pm_card_visa") -> Payment:
    """Money of a hold that its buyer had cancelled."""
    payment = app.payment(app.hold(app.slot()))
    app.confirm(payment, card)
    app.rows("SELECT release_holds(ARRAY[%s]::uuid[], 'cancelled')", payment.hold.id)
    assert app.outcome(app.event(payment.intent_id, "payment_intent.succeeded")) == "processed"
    return payment


def ask(app: App, payment: Payment, amount: int, reason: str = "asked") -> str:
    """What becomes of a person's wish for a refund."""
    return app.value("SELECT request_refund(%s, %s, %s)", payment.id, amount, reason)


def by_hand(app: App, payment: Payment, amount: int) -> str:
    """A refund that a person makes in Stripe's dashboard: its id."""
    status, made = app.emulator.act("/refunds", payment_intent=payment.intent_id, amount=amount)
    assert status == 200, made
    return made["id"]


def end(app: App, refund_id: str, outcome: str) -> None:
    assert app.emulator.act(f"/refunds/{refund_id}", outcome=outcome)[0] == 200


def said_of_refunds(app: App, payment: Payment) -> list[dict[str, Any]]:
    """What Stripe has said of the payment's refunds, oldest first."""
    return [
        event
        for event in app.all_events()
        if event["type"].startswith(("refund.", "charge.refunded"))
        and event["data"]["object"]["payment_intent"] == payment.intent_id
    ]


def tell(app: App, payment: Payment) -> list[str]:
    """What becomes of all that we have not been told of the payment's refunds."""
    known = {event_id for (event_id,) in app.rows("SELECT event_id FROM webhook_events_log")}
    return [app.outcome(event) for event in said_of_refunds(app, payment) if event["id"] not in known]


def rows(app: App) -> list[tuple[Any, ...]]:
    return app.rows("SELECT amount, status, reason FROM refunds ORDER BY created_at, reason DESC")


def facts(app: App, payment: Payment) -> tuple[Any, ...]:
    """Refunded; the booking's status, and its payment status."""
    return app.row(
        """
        SELECT p.refunded_amount, b.status, b.payment_status
        FROM payment_intents_log p LEFT JOIN bookings b ON b.payment_id = p.id WHERE p.id = %s
        """,
        payment.id,
    )


def alive_at_stripe(app: App, payment: Payment) -> list[int]:
    listed = app.stripe_client.v1.refunds.list({"payment_intent": str(payment.intent_id)}).data
    return sorted(made.amount for made in listed if made.status not in ("failed", "canceled"))


@on_every_postgres
def test_parts_are_refunded_until_nothing_is_left(app: App, site: Receiver) -> None:
    """Partial, repeated and whole: the booking stays, its payment status says how much went; no more than was paid."""
    payment = booked(app)
    assert ask(app, payment, 1000) == "requested"
    app.invoke("deliver-outbox")
    assert facts(app, payment) == (1000, "confirmed", "partially_refunded")
    assert ask(app, payment, 500) == "requested"
    assert ask(app, payment, 3001) == "refund-exceeds-paid"
    assert ask(app, payment, 3000) == "requested"
    app.invoke("deliver-outbox")
    assert facts(app, payment) == (4500, "confirmed", "refunded")
    assert alive_at_stripe(app, payment) == [500, 1000, 3000]
    went = [told.document["amount"] for told in site.received if told.document["type"] == "refunded"]
    assert sorted(went) == [500, 1000, 3000]
    assert set(tell(app, payment)) == {"stale"}
    assert app.violations() == []


@on_every_postgres
def test_a_refund_that_is_pending_settles_by_its_event(app: App, site: Receiver) -> None:
    """Stripe has made it and it is not there yet: sent, not told, until its event says that it is."""
    payment = refund_due(app, "pm_card_pendingRefund")
    app.invoke("deliver-outbox")
    refund_id = app.value("SELECT stripe_refund_id FROM refunds")
    assert rows(app) == [(4500, "pending", "reservation-cancelled")]
    assert facts(app, payment)[0] == 0
    assert app.value("SELECT status FROM outbox WHERE kind = 'refund'") == "delivered"
    end(app, refund_id, "succeeded")
    assert sorted(tell(app, payment)) == ["processed", "stale", "stale"]
    assert facts(app, payment)[0] == 4500
    app.invoke("deliver-outbox")
    assert [told.document["type"] for told in site.received] == ["could-not-be-seated", "refunded"]
    assert app.violations() == []


@on_every_postgres
def test_a_refund_that_fails_is_sent_again_under_a_new_key(app: App, logs: Logs) -> None:
    """Failed by its event, after it had succeeded even: looked for, asked for again, and this time it goes."""
    payment = refund_due(app)
    app.invoke("deliver-outbox")
    first = app.value("SELECT stripe_refund_id FROM refunds")
    end(app, first, "failed")
    assert "processed" in tell(app, payment)
    assert app.row("SELECT status, stripe_refund_id, failed_stripe_refund_ids, key_number FROM refunds") == (
        "pending",
        None,
        [first],
        2,
    )
    assert app.invoke("deliver-outbox")["delivered"] == 0, "not at once: later each time"
    app.leases_over()
    app.invoke("deliver-outbox")
    assert rows(app) == [(4500, "succeeded", "reservation-cancelled")]
    assert alive_at_stripe(app, payment) == [4500]
    assert set(tell(app, payment)) == {"stale"}
    assert app.count("outbox") == 3, "one of each kind, and told once that it went"
    assert app.violations() == []


def test_a_refund_that_always_fails_is_dead_and_alarmed(app: App, logs: Logs) -> None:
    """Twelve times, then given up in the open: a person has to send it."""
    payment = refund_due(app)
    app.invoke("deliver-outbox")
    app.rows("UPDATE outbox SET attempts = 11 WHERE kind = 'refund'")
    end(app, app.value("SELECT stripe_refund_id FROM refunds"), "failed")
    tell(app, payment)
    app.faults({"method": "POST", "path": "/v1/refunds", "times": 9, "status": 400})
    app.leases_over()
    logs.clear()
    assert app.invoke("deliver-outbox")["dead"] == 1
    assert rows(app) == [(4500, "failed", "reservation-cancelled")]
    assert app.value("SELECT status FROM outbox WHERE kind = 'refund'") == "dead"
    assert logs.lines("ERROR")


def test_a_refund_that_is_made_and_fails_each_time_is_not_made_for_ever(app: App, logs: Logs) -> None:
    """Stripe takes it twelve times, and each time it fails later: no thirteenth, a person has to send it."""
    payment = refund_due(app)
    for _ in range(12):
        app.leases_over()
        app.invoke("deliver-outbox")
        end(app, app.value("SELECT stripe_refund_id FROM refunds"), "failed")
        tell(app, payment)
    app.leases_over()
    logs.clear()
    assert app.invoke("deliver-outbox")["dead"] == 1
    assert rows(app) == [(4500, "failed", "reservation-cancelled")]
    assert alive_at_stripe(app, payment) == []
    assert len(app.value("SELECT failed_stripe_refund_ids FROM refunds")) == 12
    assert logs.lines("ERROR")


@pytest.mark.parametrize("event_type", ["refund.created", "charge.refunded"])
@on_every_postgres
def test_a_refund_made_in_the_dashboard_is_recorded_and_counted_once(app: App, event_type: str) -> None:
    """Told by each of its events, twice each: one row, and the booking's payment status says so."""
    payment = booked(app)
    by_hand(app, payment, 1500)
    told = said_of_refunds(app, payment)
    first = [event for event in told if event["type"] == event_type]
    assert app.outcome(first[0]) == "processed"
    assert {app.outcome(event) for event in [*told, *told]} == {"stale", "duplicate"}
    assert rows(app) == [(1500, "succeeded", "made-at-stripe")]
    assert facts(app, payment) == (1500, "confirmed", "partially_refunded")
    app.invoke("deliver-outbox")
    assert alive_at_stripe(app, payment) == [1500]
    assert app.violations() == []


def test_any_order_of_what_is_said_of_refunds_ends_the_same(app: App) -> None:
    """One of ours that failed, and one made by hand that failed too: in any order, each of them twice."""
    payment = refund_due(app, "pm_card_pendingRefund")
    app.invoke("deliver-outbox")
    end(app, app.value("SELECT stripe_refund_id FROM refunds"), "failed")
    end(app, by_hand(app, payment, 1000), "failed")
    by_hand(app, payment, 500)
    events = [event for event in said_of_refunds(app, payment) if event["type"].startswith("refund.")]
    ends = set[tuple[Any, ...]]()
    for number in range(12):
        order = [*events, *events]
        Random(number).shuffle(order)
        for place, event in enumerate(order):
            app.outcome(event | {"id": f"evt_{number}_{place}"})
        ends.add(tuple(app.rows("SELECT reason, status, amount, wanted_amount FROM refunds ORDER BY 1, 2")))
        assert app.violations() == []
        # As it was when ours had been sent, and nothing had been heard of it.
        app.rows("DELETE FROM refunds WHERE reason = 'made-at-stripe'")
        app.rows(
            "UPDATE refunds SET status = 'pending', amount = 4500, wanted_amount = NULL, failed_stripe_refund_ids = '{}'"
        )
    assert ends == {
        (
            ("made-at-stripe", "failed", 1000, None),
            ("made-at-stripe", "pending", 500, None),
            ("reservation-cancelled", "pending", 4000, 4500),
        )
    }


def test_a_dashboard_refund_beside_one_of_ours_leaves_us_the_rest(app: App) -> None:
    """A person gives a part back while ours waits: ours shrinks to what is left, and everything goes back once."""
    payment = refund_due(app)
    by_hand(app, payment, 1000)
    tell(app, payment)
    assert rows(app) == [(3500, "pending", "reservation-cancelled"), (1000, "succeeded", "made-at-stripe")]
    app.invoke("deliver-outbox")
    assert alive_at_stripe(app, payment) == [1000, 3500]
    assert facts(app, payment)[0] == 4500
    assert app.violations() == []


def test_a_dashboard_refund_that_we_have_not_heard_of_is_found_when_stripe_refuses_ours(app: App) -> None:
    """All of it has gone back by hand: ours ends, and nothing is alarmed."""
    payment = refund_due(app)
    by_hand(app, payment, 4500)
    assert app.invoke("deliver-outbox")["dead"] == 0
    assert rows(app) == [(4500, "canceled", "reservation-cancelled"), (4500, "succeeded", "made-at-stripe")]
    assert app.value("SELECT status FROM outbox WHERE kind = 'refund'") == "canceled"
    assert set(tell(app, payment)) == {"stale"}
    assert app.violations() == []


def test_a_dashboard_refund_that_fails_is_alarmed_and_ours_takes_its_place(app: App, logs: Logs) -> None:
    """What it left no room for is sent after all."""
    payment = refund_due(app)
    made = by_hand(app, payment, 4500)
    tell(app, payment)
    end(app, made, "failed")
    logs.clear()
    tell(app, payment)
    assert logs.lines("ERROR")
    app.leases_over()
    app.invoke("deliver-outbox")
    assert alive_at_stripe(app, payment) == [4500]
    assert app.row("SELECT status FROM refunds WHERE reason <> 'made-at-stripe'") == ("succeeded",)
    assert app.violations() == []


def test_a_refund_of_a_payment_whose_capture_we_have_not_heard_of_settles_both(app: App) -> None:
    """The refund's event comes first: Stripe is asked, the payment booked, and then the refund applied."""
    payment = app.payment(app.hold(app.slot()))
    app.confirm(payment)
    by_hand(app, payment, 4500)
    assert tell(app, payment)[0] == "processed"
    assert facts(app, payment) == (4500, "confirmed", "refunded")
    assert app.outcome(app.event(payment.intent_id, "payment_intent.succeeded")) == "stale"
    assert app.violations() == []


def test_a_refund_that_needs_room_that_we_do_not_know_of_waits_for_no_event(app: App) -> None:
    """One fails and another takes its place; told of the second alone, we ask Stripe for its list."""
    payment = booked(app)
    first = by_hand(app, payment, 4500)
    tell(app, payment)
    end(app, first, "failed")
    second = by_hand(app, payment, 4000)
    assert app.outcome(app.event(second, "refund.created")) == "processed"
    assert rows(app) == [(4500, "failed", "made-at-stripe"), (4000, "succeeded", "made-at-stripe")]
    assert set(tell(app, payment)) == {"stale"}
    assert app.violations() == []


@pytest.mark.parametrize(
    ("changed", "envelope", "reason"),
    [
        ({"currency": "usd"}, {}, "currency"),
        ({"amount": 4501}, {}, "amount"),
        ({"amount": 4500}, {}, "more-than-captured"),
        ({}, {"livemode": True}, "livemode"),
        ({}, {"account": "acct_theirs"}, "account"),
    ],
)
def test_a_refund_that_cannot_be_this_payments_is_quarantined(
    app: App, logs: Logs, changed: dict[str, Any], envelope: dict[str, Any], reason: str
) -> None:
    """200, nothing changed, a person is told."""
    payment = booked(app)
    by_hand(app, payment, 1)
    tell(app, payment)
    seen = app.stripe_client.v1.refunds.list({"payment_intent": str(payment.intent_id)}).data[0].to_dict()
    logs.clear()
    event = event_of("refund.updated", seen | {"id": "re_unknown"} | changed)
    assert app.outcome(event | envelope) == "quarantined"
    assert app.value("SELECT reason FROM webhook_events_log WHERE status = 'quarantined'") == reason
    assert app.count("refunds") == 1
    assert logs.lines("ERROR")


def test_a_refund_of_another_program_is_parked_in_silence(app: App, logs: Logs) -> None:
    """A payment that is not ours: no alarm; with an id of ours in its metadata, an alarm."""
    theirs = app.stripe_client.v1.payment_intents.create(
        {"amount": 700, "currency": "eur", "payment_method": "pm_card_visa", "confirm": True}
    )
    made = app.stripe_client.v1.refunds.create({"payment_intent": theirs.id}).to_dict()
    assert app.outcome(event_of("refund.created", made)) == "parked"
    assert logs.lines("ERROR") == []
    named = made | {"metadata": {"holdfast_refund_id": "6dd0c1a6-6c0c-4bd3-8a4e-0b8f0c6c4a6f"}}
    assert app.outcome(event_of("refund.created", named)) == "parked"
    assert logs.lines("ERROR")
    assert app.count("refunds") == 0


def test_a_refund_event_in_another_version_is_looked_up(app: App) -> None:
    """The event is a hint; what is applied is Stripe's own refund."""
    payment = booked(app)
    made = by_hand(app, payment, 1500)
    lying = event_of("refund.created", {"id": made, "amount": 9, "currency": "usd"}, api_version="2019-12-03")
    assert app.outcome(lying) == "processed"
    assert rows(app) == [(1500, "succeeded", "made-at-stripe")]


def test_a_key_is_taken_by_the_lease_s_owner_alone(app: App) -> None:
    """A run that lost its row changes no key."""
    refund_due(app)
    outbox_id = app.value("SELECT id FROM outbox WHERE kind = 'refund'")
    app.rows("UPDATE outbox SET attempts = 5 WHERE kind = 'refund'")
    app.rows("SELECT take_next_refund_key(%s, 4)", outbox_id)
    assert app.value("SELECT key_number FROM refunds") == 1
    app.rows("SELECT take_next_refund_key(%s, 5)", outbox_id)
    assert app.value("SELECT key_number FROM refunds") == 2


def test_a_charge_without_an_intent_is_nobodys_payment(app: App) -> None:
    """Nothing is asked: it is not ours."""
    event = event_of("charge.refunded", {"id": "ch_1", "object": "charge", "payment_intent": None})
    assert app.outcome(event) == "parked"
