"""Disputes: a booking frozen, restored or revoked, told in any order; none of our refunds beside one."""

from collections.abc import Generator
from itertools import permutations
from typing import Any

import pytest

from tests.support.app import App, Payment
from tests.support.logs import Logs
from tests.support.postgres import on_every_postgres
from tests.support.receiver import receiving
from tests.support.stripe_events import event_of


@pytest.fixture(autouse=True)
def quiet_bank(app: App) -> Generator[None]:
    """Nothing ends before a test says so; the site takes what it is told."""
    app.emulator.faults(settle_s=3600)
    with receiving() as receiver:
        app.set(NOTIFICATION_WEBHOOK_URL=f"{receiver.url}/told")
        yield


def disputed(app: App, payment: Payment, **given: object) -> str:
    """The customer's bank disputes the payment: the dispute's id."""
    status, made = app.emulator.act("/disputes", payment_intent=payment.intent_id, **given)
    assert status == 200, made
    return made["id"]


def advance(app: App, dispute_id: str, outcome: str) -> None:
    status, body = app.emulator.act(f"/disputes/{dispute_id}", outcome=outcome)
    assert status == 200, body


def said(app: App, dispute_id: str) -> list[dict[str, Any]]:
    """What Stripe has said of the dispute, oldest first."""
    return app.events(dispute_id)


def tell(app: App, dispute_id: str) -> list[str]:
    """What becomes of all that we have not been told of the dispute."""
    known = {event_id for (event_id,) in app.rows("SELECT event_id FROM webhook_events_log")}
    return [app.outcome(event) for event in said(app, dispute_id) if event["id"] not in known]


def booking(app: App) -> tuple[Any, ...]:
    return app.row("SELECT status, payment_status FROM bookings")


def dispute(app: App) -> tuple[Any, ...]:
    return app.row("SELECT status, standing, withdrawn_amount, reinstated_amount FROM disputes")


def refund_due(app: App, card: str = "pm_card_visa") -> Payment:
    """Money of a hold that its buyer had cancelled."""
    payment = app.payment(app.hold(app.slot()))
    app.confirm(payment, card)
    app.rows("SELECT release_holds(ARRAY[%s]::uuid[], 'cancelled')", payment.hold.id)
    assert app.outcome(app.event(payment.intent_id, "payment_intent.succeeded")) == "processed"
    return payment


@on_every_postgres
def test_an_open_dispute_freezes_and_a_won_one_restores(app: App, logs: Logs) -> None:
    """Its seats stay sold, its money is gone and comes back; a person is told of both."""
    slot = app.slot()
    payment = app.booked(slot, 2)
    dispute_id = disputed(app, payment)
    assert "processed" in tell(app, dispute_id)
    assert booking(app) == ("frozen", "disputed")
    assert app.counts(slot) == (0, 2, 0, 1)
    assert dispute(app) == ("needs_response", "open", 9000, 0)
    assert app.value("SELECT disputed_at IS NOT NULL FROM payment_intents_log")
    assert logs.lines("ERROR")
    assert "DisputeOpen" in logs.counted()
    assert app.violations() == []
    advance(app, dispute_id, "under_review")
    advance(app, dispute_id, "won")
    tell(app, dispute_id)
    assert booking(app) == ("confirmed", "paid")
    assert dispute(app) == ("won", "won", 9000, 9000)
    assert app.violations() == []


@on_every_postgres
def test_a_lost_dispute_revokes_and_gives_the_seats_back(app: App) -> None:
    """The money is with the customer, so the seats are for sale again."""
    slot = app.slot(units=2)
    payment = app.booked(slot, 2)
    dispute_id = disputed(app, payment)
    advance(app, dispute_id, "lost")
    tell(app, dispute_id)
    assert booking(app) == ("revoked", "disputed")
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.try_hold(slot, 2).status == 201
    assert app.violations() == []


def test_revoked_is_final_and_a_later_win_is_alarmed(app: App, logs: Logs) -> None:
    """Its seats may have been sold again: what is won afterwards is recorded, and a person told, who gives it back."""
    slot = app.slot(units=2)
    payment = app.booked(slot, 2)
    dispute_id = disputed(app, payment)
    advance(app, dispute_id, "lost")
    tell(app, dispute_id)
    lost = said(app, dispute_id)[-1]
    logs.clear()
    won = event_of(
        "charge.dispute.updated", lost["data"]["object"] | {"status": "won"}, created=lost["created"] + 5
    )
    assert app.outcome(won) == "processed"
    assert booking(app) == ("revoked", "paid")
    assert logs.lines("ERROR")
    assert app.counts(slot) == (0, 0, 0, 0)
    assert [name for name, _, _ in app.violations()] == ["money ends in a booking, a refund or a dispute"]
    assert app.value("SELECT request_refund(%s, 9000, 'won too late')", payment.id) == "requested"
    assert app.violations() == []


def test_an_inquiry_moves_no_money_and_freezes_nothing(app: App, logs: Logs) -> None:
    """Recorded, and no more; once it escalates it is a dispute like any other."""
    payment = app.booked(app.slot())
    dispute_id = disputed(app, payment, inquiry=True)
    tell(app, dispute_id)
    assert booking(app) == ("confirmed", "paid")
    assert dispute(app) == ("warning_needs_response", "inquiry", 0, 0)
    assert app.value("SELECT disputed_at FROM payment_intents_log") is None
    assert logs.lines("ERROR") == []
    advance(app, dispute_id, "escalate")
    tell(app, dispute_id)
    assert booking(app) == ("frozen", "disputed")
    assert app.violations() == []


def test_an_inquiry_that_is_closed_changes_nothing(app: App) -> None:
    """The bank asked, and is satisfied."""
    payment = app.booked(app.slot())
    dispute_id = disputed(app, payment, inquiry=True)
    advance(app, dispute_id, "warning_closed")
    tell(app, dispute_id)
    assert booking(app) == ("confirmed", "paid")
    assert app.violations() == []


def test_any_order_of_a_disputes_events_ends_the_same(app: App) -> None:
    """Created, withdrawn, updated, closed, reinstated: every order, and each of them twice."""
    payment = app.booked(app.slot())
    dispute_id = disputed(app, payment)
    advance(app, dispute_id, "under_review")
    advance(app, dispute_id, "won")
    events = said(app, dispute_id)
    assert len(events) == 5
    ends = set[tuple[Any, ...]]()
    for number, order in enumerate(permutations(events)):
        for event in (*order, *reversed(order)):
            app.outcome(event | {"id": f"{event['id']}_{number}_{event['type']}"})
        ends.add((*booking(app), *dispute(app)))
        app.rows("DELETE FROM disputes; UPDATE bookings SET status = 'confirmed', payment_status = 'paid'")
    assert ends == {("confirmed", "paid", "won", "won", 4500, 4500)}


def test_a_dispute_of_a_payment_whose_capture_we_have_not_heard_of_settles_both(app: App) -> None:
    """The dispute's event comes first: Stripe is asked, the payment booked, and the booking frozen."""
    payment = app.payment(app.hold(app.slot()))
    app.confirm(payment, "pm_card_createDispute")
    (made,) = app.stripe_client.v1.disputes.list({"payment_intent": str(payment.intent_id)}).data
    assert app.outcome(app.event(made.id, "charge.dispute.created")) == "processed"
    assert booking(app) == ("frozen", "disputed")
    assert app.outcome(app.event(payment.intent_id, "payment_intent.succeeded")) == "stale"
    assert app.violations() == []


@on_every_postgres
def test_a_dispute_supersedes_a_refund_that_waits_and_none_is_sent(app: App) -> None:
    """The money goes back by the dispute: ours ends without an alarm; a person's wish for one is refused."""
    payment = refund_due(app)
    dispute_id = disputed(app, payment)
    tell(app, dispute_id)
    assert app.row("SELECT status, superseded_by IS NOT NULL FROM refunds") == ("canceled", True)
    assert app.value("SELECT status FROM outbox WHERE kind = 'refund'") == "canceled"
    assert app.value("SELECT request_refund(%s, 1, 'asked')", payment.id) == "disputed"
    app.leases_over()
    assert app.invoke("deliver-outbox")["dead"] == 0
    advance(app, dispute_id, "lost")
    tell(app, dispute_id)
    assert app.value("SELECT status FROM refunds") == "canceled"
    assert app.value("SELECT request_refund(%s, 1, 'asked')", payment.id) == "disputed"
    assert app.stripe_client.v1.refunds.list({"payment_intent": str(payment.intent_id)}).data == []
    assert app.violations() == []


def test_a_refund_that_a_won_dispute_had_superseded_is_sent(app: App) -> None:
    """The money is back with us, and still owed."""
    payment = refund_due(app)
    dispute_id = disputed(app, payment)
    tell(app, dispute_id)
    advance(app, dispute_id, "won")
    tell(app, dispute_id)
    assert app.row("SELECT status, superseded_by FROM refunds") == ("pending", None)
    assert app.violations() == []


def test_a_refund_that_stripe_fails_because_of_a_dispute_is_not_asked_for_again(app: App) -> None:
    """It was pending at Stripe when the dispute came; told in either order, none is sent beside the dispute."""
    for dispute_first in (True, False):
        payment = refund_due(app, "pm_card_pendingRefund")
        app.invoke("deliver-outbox")
        refund_id = app.value("SELECT stripe_refund_id FROM refunds WHERE payment_id = %s", payment.id)
        dispute_id = disputed(app, payment)
        failed = app.event(refund_id, "refund.failed")
        assert failed["data"]["object"]["failure_reason"] == "charge_for_pending_refund_disputed"
        if dispute_first:
            tell(app, dispute_id)
        app.outcome(failed)
        tell(app, dispute_id)
        assert app.row(
            "SELECT status, superseded_by IS NOT NULL FROM refunds WHERE payment_id = %s", payment.id
        ) == (
            "canceled",
            True,
        )
    app.leases_over()
    assert app.invoke("deliver-outbox")["retried"] == 0
    assert app.violations() == []


def test_a_cancelled_booking_stays_cancelled(app: App) -> None:
    """Its seats went back when it was cancelled."""
    slot = app.slot()
    payment = app.booked(slot)
    app.rows(
        """
        UPDATE bookings SET status = 'cancelled'; UPDATE slots SET sold_units = 0, sold_bookings = 0;
        """
    )
    dispute_id = disputed(app, payment)
    advance(app, dispute_id, "lost")
    tell(app, dispute_id)
    assert booking(app) == ("cancelled", "disputed")
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.violations() == []


@pytest.mark.parametrize(
    ("changed", "envelope", "reason"),
    [
        ({"currency": "usd"}, {}, "currency"),
        ({"amount": 0}, {}, "amount"),
        ({}, {"livemode": True}, "livemode"),
        ({}, {"account": "acct_theirs"}, "account"),
    ],
)
def test_a_dispute_that_cannot_be_this_payments_is_quarantined(
    app: App, changed: dict[str, Any], envelope: dict[str, Any], reason: str
) -> None:
    """200, nothing frozen, a person is told."""
    payment = app.booked(app.slot())
    made = said(app, disputed(app, payment))[0]["data"]["object"]
    assert app.outcome(event_of("charge.dispute.created", made | changed, **envelope)) == "quarantined"
    assert app.value("SELECT reason FROM webhook_events_log WHERE status = 'quarantined'") == reason
    assert booking(app) == ("confirmed", "paid")


def test_a_dispute_event_in_another_version_is_looked_up(app: App) -> None:
    """The event is a hint; what is applied is Stripe's own dispute."""
    dispute_id = disputed(app, app.booked(app.slot()))
    lying = event_of("charge.dispute.closed", {"id": dispute_id, "status": "lost"}, api_version="2019-12-03")
    assert app.outcome(lying) == "processed"
    assert booking(app) == ("frozen", "disputed")


def test_every_change_of_a_dispute_is_audited_with_its_event(app: App) -> None:
    """The dispute's row, the payment's and the booking's, by the event that caused them."""
    dispute_id = disputed(app, app.booked(app.slot()))
    event = app.event(dispute_id, "charge.dispute.created")
    app.outcome(event)
    entries = app.rows(
        "SELECT table_name, action_type, booking_id = (SELECT id FROM bookings) FROM booking_audit_log WHERE stripe_event_id = %s",
        event["id"],
    )
    assert sorted(entries) == [
        ("bookings", "update", True),
        ("disputes", "insert", True),
        ("payment_intents_log", "update", True),
    ]
