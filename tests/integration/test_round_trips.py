"""A row lock held over a network round trip is the ceiling of a sale: the round trips of each act are counted."""

from collections.abc import Generator

import pytest

from tests.support.app import App
from tests.support.postgres import on_every_postgres
from tests.support.round_trips import Proxy, proxied
from tests.support.sign_in import SECRET, token
from tests.support.stripe_events import event_of, intent


@pytest.fixture
def proxy(app: App) -> Generator[Proxy]:
    """A proxy between the functions and their database; no debug lines slow it down."""
    with proxied(app.app_url) as (proxy, url):
        app.set(DATABASE_URL=url)
        try:
            yield proxy
        finally:
            app.forget()


@on_every_postgres
def test_a_hold_is_one_round_trip(app: App, proxy: Proxy) -> None:
    """With a key or without, on one slot or several: one."""
    one, two = app.slot(), app.slot()
    app.hold(one)
    proxy.count()
    app.hold({one: 2, two: 1})
    assert proxy.count() == 1
    assert app.try_hold(one, key="0123456789abcdef").status == 201
    assert proxy.count() == 1
    assert app.try_hold(one, 50).problem == "sold-out"
    assert proxy.count() == 1


@on_every_postgres
def test_paying_is_one_round_trip_before_stripe_and_one_after(app: App, proxy: Proxy) -> None:
    """The first step writes all, the last step writes all; Stripe is asked between them."""
    slot = app.slot()
    app.payment(app.hold(slot))
    hold = app.hold(slot)
    proxy.count()
    assert app.pay(hold, key="key").status == 201
    assert proxy.count() == 2
    app.faults({"method": "POST", "path": "/v1/payment_intents", "times": 9, "status": 429})
    unanswered = app.hold(slot)
    proxy.count()
    assert app.pay(unanswered).status == 503
    assert proxy.count() == 2


@on_every_postgres
def test_booking_without_a_payment_is_one_round_trip(app: App, proxy: Proxy) -> None:
    """By whatever means, replayed too; with a payment to close, one before Stripe, its close, and one after."""
    app.set(JWT_SECRET=SECRET)
    app.grant("user-1", 5)
    bearer = {"authorization": f"Bearer {token()}"}
    slot = app.slot(credits_price=1, pay_on_arrival=True)
    app.book(app.hold(slot))
    first, second = app.hold(slot), app.payment(app.hold(slot)).hold
    proxy.count()
    for _ in range(2):
        assert app.book(first, "credits", key="key", **bearer).status == 201
        assert proxy.count() == 1
    assert app.book(second).status == 201
    assert proxy.count() == 3


@on_every_postgres
def test_a_webhook_on_a_live_hold_is_two_round_trips(app: App, proxy: Proxy) -> None:
    """Open, claim and lock in one; the effects, the mark and COMMIT in the other."""
    slot = app.slot()
    app.booked(slot)
    payment = app.payment(app.hold(slot))
    assert payment.intent_id is not None
    event = event_of("payment_intent.succeeded", intent(payment.intent_id, 4500, "succeeded"))
    proxy.count()
    assert app.outcome(event) == "processed"
    assert proxy.count() == 2
    assert app.counts(slot) == (0, 2, 0, 2)


@on_every_postgres
def test_a_webhook_about_a_refund_or_a_dispute_is_two_round_trips(app: App, proxy: Proxy) -> None:
    """The ledger is read with the locks, and written with the mark and COMMIT."""
    payment = app.booked(app.slot())
    for path, given in (("/refunds", {"amount": 1000}), ("/disputes", {"inquiry": True})):
        status, made = app.emulator.act(path, payment_intent=payment.intent_id, **given)
        assert status == 200, made
        event = app.events(made["id"])[0]
        proxy.count()
        assert app.outcome(event) == "processed"
        assert proxy.count() == 2


@on_every_postgres
def test_the_cleanup_of_unpaid_holds_is_one_round_trip_a_batch(
    app: App, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two batches cost one round trip more than one batch."""
    monkeypatch.setattr("functions.reservation_cleanup.service.UNPAID_BATCH", 3)
    slot = app.slot(units=20)
    app.invoke("reservation-cleanup")

    def round_trips(holds: int) -> int:
        app.expire(*[app.hold(slot) for _ in range(holds)])
        proxy.count()
        assert app.invoke("reservation-cleanup")["released"] == holds
        return proxy.count()

    assert round_trips(5) - round_trips(2) == 1
    assert app.counts(slot) == (0, 0, 0, 0)


@on_every_postgres
def test_a_change_of_a_booking_is_one_round_trip_after_the_look_at_whose_it_is(
    app: App, proxy: Proxy
) -> None:
    """Who may change it is read without a lock; the lock, the seats, the refund and COMMIT are the other."""
    app.set(JWT_SECRET=SECRET)
    offering = app.offering()
    there = app.slot(offering)
    token_of = app.booked(app.slot(offering)).hold.headers
    admin = {"authorization": f"Bearer {token(role='admin')}"}
    booking_id = app.value("SELECT id FROM bookings")
    changes = [
        ("refunds", {"reason": "r", "amount": 100}, admin, 202, 1),
        ("reschedule", {"slot_id": there}, token_of | {"if-match": "1"}, 200, 2),
        ("cancel", {"reason": "r"}, token_of | {"if-match": "2"}, 200, 2),
    ]
    app.call("bookings", "GET", f"/bookings/{booking_id}", headers=token_of)
    for what, body, headers, status, round_trips in changes:
        proxy.count()
        assert app.call("bookings", "POST", f"/bookings/{booking_id}/{what}", body, headers).status == status
        assert proxy.count() == round_trips, what
