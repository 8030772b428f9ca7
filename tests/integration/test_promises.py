"""Who judges bookings by what is on record finds nothing where all is well, and each thing that is made wrong by its name."""

from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from local.postgres import SUPERUSER
from local.promises import broken, check_promises
from tests.emulator_process import SECRET_KEY
from tests.support.app import App, Hold
from tests.support.sign_in import SECRET, token

CREDITS = "credits are spent once, and the balance is its ledger"
POLICY = "a cancelled booking gives back what its policy says"
UNPAID = "who books by other means is not charged"
SEATS = "seats that are given back can be sold again"
CLOSED = "a slot that its schedule has left sells no more"


OURS = {CREDITS, POLICY, UNPAID, SEATS, CLOSED}


def broken_promises(app: App) -> set[str]:
    """Of those about bookings: Stripe's emulator has other tests' payments as well."""
    return OURS & {each.name for each in broken(check_promises(app.owner_url, app.emulator.url, SECRET_KEY))}


def cancel(app: App, hold: Hold) -> None:
    booking_id = app.value("SELECT id FROM bookings WHERE reservation_id = %s", hold.id)
    headers = {**hold.headers, "if-match": "1"}
    answer = app.call("bookings", "POST", f"/bookings/{booking_id}/cancel", {"reason": "ill"}, headers)
    assert answer.status == 200, answer


@pytest.fixture
def studio(app: App) -> App:
    """One booking of each kind that stands, and one of each that is cancelled; a slot that its schedule has left."""
    app.set(JWT_SECRET=SECRET)
    slot = app.slot(credits_price=2, pay_on_arrival=True)
    ada = {"authorization": f"Bearer {token(SECRET, sub='ada')}"}
    app.grant("ada", 5)
    for method in ("credits", "pay_on_arrival"):
        kept, cancelled = app.hold(slot), app.hold(slot)
        assert app.book(kept, method, **ada).status == app.book(cancelled, method, **ada).status == 201
        cancel(app, cancelled)
    app.booked(slot)
    cancel(app, app.booked(slot).hold)
    app.rows("UPDATE slots SET is_legacy = true WHERE id = %s", slot)
    return app


def paid_besides(app: App) -> None:
    """Stripe takes money for what is paid on arrival, and it does not come back."""
    reservation = app.value(
        "SELECT reservation_id FROM bookings WHERE payment_method = 'pay_on_arrival' LIMIT 1"
    )
    app.stripe_client.v1.payment_intents.create(
        {
            "amount": 4500,
            "currency": "eur",
            "payment_method": "pm_card_visa",
            "confirm": True,
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "metadata": {"holdfast_reservation_id": str(reservation), "holdfast_payment_id": str(uuid4())},
        }
    )


def test_what_is_wrong_is_named(studio: App) -> None:
    """Nothing where all is well; then one promise more for each thing that somebody does whom no constraint stops."""
    assert broken_promises(studio) == set()
    wrong: set[str] = set()
    with psycopg.connect(make_conninfo(studio.owner_url, user=SUPERUSER), autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")
        for statement, promise in (
            ("UPDATE user_credits SET balance = balance + 1", CREDITS),
            ("UPDATE refunds SET amount = amount - 1 WHERE reason = 'booking-cancelled'", POLICY),
            ("UPDATE slots SET sold_units = sold_units + 1", SEATS),
            ("UPDATE ticket_reservations SET created_at = clock_timestamp()", CLOSED),
        ):
            conn.execute(statement.encode())
            wrong.add(promise)
            assert broken_promises(studio) == wrong
    paid_besides(studio)
    assert broken_promises(studio) == OURS
