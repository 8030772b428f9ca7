"""Holding seats: all or nothing, once, for a while."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from domain.reservation import reservation_token
from tests.support.app import TOKEN_SECRET, App, new_key
from tests.support.postgres import on_every_postgres


def post(app: App, body: object, key: str | None = None) -> Any:
    return app.call("reservations", "POST", "/reservations", body, {"idempotency-key": key} if key else {})


@on_every_postgres
def test_a_hold_sets_seats_aside_at_todays_price(app: App) -> None:
    """201 with the token, the amount of all lines, and fifteen minutes; the seats are held."""
    slug = app.offering()
    add_on = app.add_on(slug, 600)
    slot = app.slot(slug, units=10)
    body = app.hold_request(slot, 2)
    body["items"][0]["add_ons"] = [{"id": add_on, "quantity": 3}]

    answer = post(app, body)

    assert answer.status == 201
    held = answer.body
    assert list(held)[:2] == ["id", "token"]
    assert held["token"] == reservation_token(held["id"], TOKEN_SECRET)
    assert (held["status"], held["amount"], held["currency"]) == ("active", 2 * 4500 + 3 * 600, "eur")
    lasts = datetime.fromisoformat(held["expires_at"]) - datetime.now().astimezone()
    assert timedelta(minutes=14) < lasts <= timedelta(minutes=15, seconds=2)
    assert [(item["slot_id"], item["units"]) for item in held["items"]] == [(slot, 2)]
    assert app.counts(slot) == (2, 0, 1, 0)
    assert app.violations() == []


def test_the_token_is_stored_nowhere(app: App) -> None:
    """No table has the token of a hold, nor the stored answer under a key."""
    answer = post(app, app.hold_request(app.slot()), new_key())
    dumped = str(app.dump())
    assert answer.body["id"] in dumped
    assert answer.body["token"] not in dumped


@on_every_postgres
def test_all_or_nothing(app: App) -> None:
    """One slot that is full refuses the whole, says what each has left, and nothing is held."""
    free, full = app.slot(units=5), app.slot(units=3)
    app.hold(full, 2)

    answer = app.try_hold({free: 2, full: 2})

    assert (answer.status, answer.problem) == (409, "sold-out")
    assert answer.body["left"] == [
        {"slot_id": free, "units_left": 5, "bookings_left": 5},
        {"slot_id": full, "units_left": 1, "bookings_left": 2},
    ]
    assert app.counts(free) == (0, 0, 0, 0)
    assert app.count("customers") == 1
    assert app.violations() == []


@on_every_postgres
def test_a_slot_is_full_of_bookings_too(app: App) -> None:
    """A slot that takes two parties refuses the third, however many units are left."""
    slot = app.slot(units=100, bookings=2)
    app.hold(slot)
    app.hold(slot)
    answer = app.try_hold(slot)
    assert answer.problem == "sold-out"
    assert answer.body["left"] == [{"slot_id": slot, "units_left": 98, "bookings_left": 0}]


@on_every_postgres
def test_the_seats_of_a_hold_that_is_over_come_back_at_once(app: App) -> None:
    """Nobody waits for the cleanup: an expired hold without a payment gives its seats to the next buyer."""
    slot, other = app.slot(units=2), app.slot(units=2)
    old = app.hold({slot: 2, other: 1})
    assert app.try_hold(slot).problem == "sold-out"
    app.expire(old)

    app.hold(slot, 2)

    assert app.status(old) == "expired"
    assert app.counts(slot) == (2, 0, 1, 0)
    assert app.counts(other) == (0, 0, 0, 0)
    assert app.violations() == []


def test_an_unknown_slot_is_404(app: App) -> None:
    """One slot that is not there refuses the whole."""
    slot = app.slot()
    answer = app.try_hold({slot: 1, str(uuid4()): 1})
    assert (answer.status, answer.problem) == (404, "unknown-slot")
    assert app.counts(slot) == (0, 0, 0, 0)


@pytest.mark.parametrize("closed", ["is_legacy = true", "starts_at = now() - interval '1 s'"])
def test_a_closed_slot_is_409(app: App, closed: str) -> None:
    """What is left over from an older schedule, or has begun, is not sold."""
    slot = app.slot()
    app.rows(f"UPDATE slots SET {closed} WHERE id = %s", slot)
    assert app.try_hold(slot).problem == "slot-closed"


def test_a_slot_of_a_retired_offering_is_closed(app: App) -> None:
    """A retired offering's slots are closed."""
    slug = app.offering()
    slot = app.slot(slug)
    app.rows("UPDATE offerings SET retired_at = now() WHERE slug = %s", slug)
    assert app.try_hold(slot).problem == "slot-closed"


def test_currencies_do_not_mix(app: App) -> None:
    """One hold has one currency: 422."""
    answer = app.try_hold({app.slot(currency="eur"): 1, app.slot(currency="usd"): 1})
    assert (answer.status, answer.problem) == (422, "mixed-currencies")
    assert app.count("ticket_reservations") == 0


def test_an_add_on_belongs_to_its_offering(app: App) -> None:
    """An add-on of another offering, a retired one and one that is not there are 422."""
    slug = app.offering()
    slot = app.slot(slug)
    retired = app.add_on(slug, name="Old")
    app.rows("UPDATE add_ons SET retired_at = now() WHERE id = %s", retired)
    for add_on in (app.add_on(app.offering()), retired, str(uuid4())):
        body = app.hold_request(slot)
        body["items"][0]["add_ons"] = [{"id": add_on, "quantity": 1}]
        answer = post(app, body)
        assert (answer.status, answer.problem) == (422, "unknown-add-on")
    assert app.count("ticket_reservations") == 0


def test_nobody_holds_past_the_beginning(app: App) -> None:
    """A hold on a slot that begins in five minutes lasts five minutes."""
    slot = app.slot(starts_in="5 minutes")
    hold = app.hold(slot)
    assert app.value(
        "SELECT expires_at = starts_at AND ceiling_at = starts_at FROM ticket_reservations, slots WHERE ticket_reservations.id = %s AND slots.id = %s",
        hold.id,
        slot,
    )


@on_every_postgres
def test_five_holds_a_customer(app: App) -> None:
    """A sixth active hold of one customer, whatever the case of the address, is 429; one that is over does not count."""
    slot = app.slot(units=20)
    holds = [
        app.hold(slot, email=email)
        for email in ["ada@example.com", "ADA@example.com"] * 2 + ["Ada@Example.com"]
    ]

    answer = app.try_hold(slot, email="ada@EXAMPLE.com")

    assert (answer.status, answer.problem) == (429, "too-many-holds")
    assert int(answer.headers["Retry-After"]) > 0
    assert app.counts(slot) == (5, 0, 5, 0)
    app.expire(holds[0])
    app.hold(slot, email="ada@example.com")
    assert app.cancel(holds[1]).status == 200
    app.hold(slot, email="ada@example.com")
    assert app.try_hold(slot, email="ada@example.com").status == 429
    app.hold(slot, email="bob@example.com")
    assert app.count("customers") == 2
    assert app.violations() == []


@pytest.mark.parametrize("free", [0, 4500])
def test_the_price_is_frozen(app: App, free: int) -> None:
    """What the catalogue says later does not change what a hold costs."""
    slug = app.offering(unit_amount=free)
    hold = app.hold(app.slot(slug), 2)
    app.rows("UPDATE offerings SET unit_amount = 9900 WHERE slug = %s", slug)
    assert app.show(hold)["amount"] == hold.amount == 2 * free


BAD_BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/items", {"items": []}),
    ("/items", {"items": None}),
    ("/customer", {"customer": None}),
    ("/customer/email", {"customer": {"name": "Ada"}}),
    ("/customer/email", {"customer": {"name": "Ada", "email": "ada"}}),
    ("/customer/email", {"customer": {"name": "Ada", "email": "ada@example"}}),
    ("/customer/email", {"customer": {"name": "Ada", "email": "a@b@c.example"}}),
    ("/customer/email", {"customer": {"name": "Ada", "email": "a" * 250 + "@example.com"}}),
    ("/customer/email", {"customer": {"name": "Ada", "email": "a\x00b@example.com"}}),
    ("/customer/name", {"customer": {"name": "", "email": "ada@example.com"}}),
    ("/customer/name", {"customer": {"name": "  ", "email": "ada@example.com"}}),
    ("/customer/name", {"customer": {"name": "A\nB", "email": "ada@example.com"}}),
    ("/customer/name", {"customer": {"name": 7, "email": "ada@example.com"}}),
    ("/customer/phone", {"customer": {"name": "Ada", "email": "ada@example.com", "phone": "1" * 50}}),
    ("/customer/age", {"customer": {"name": "Ada", "email": "ada@example.com", "age": 36}}),
    ("/extra", {"extra": 1}),
]


@pytest.mark.parametrize(("pointer", "change"), BAD_BODIES)
def test_a_field_that_does_not_fit_is_named(app: App, pointer: str, change: dict[str, Any]) -> None:
    """422 points at the field that is wrong."""
    answer = post(app, app.hold_request(app.slot()) | change)
    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert pointer in [error["pointer"] for error in answer.body["errors"]]
    assert app.count("customers") == 0


@pytest.mark.parametrize(
    ("pointer", "item"),
    [
        ("/items/0/units", {"units": 0}),
        ("/items/0/units", {"units": 51}),
        ("/items/0/units", {"units": -1}),
        ("/items/0/units", {"units": 1.5}),
        ("/items/0/units", {"units": "1"}),
        ("/items/0/slot_id", {"slot_id": "nope"}),
        ("/items/0/slot_id", {"slot_id": 5}),
        ("/items/0/add_ons/0/quantity", {"add_ons": [{"id": str(uuid4()), "quantity": 0}]}),
        ("/items/0/add_ons/0/id", {"add_ons": [{"id": "x", "quantity": 1}]}),
        ("/items/0/price", {"price": 1}),
    ],
)
def test_an_item_that_does_not_fit_is_named(app: App, pointer: str, item: dict[str, Any]) -> None:
    """1 to 50 units of a slot, and add-ons by id and quantity; nothing else."""
    body = app.hold_request(app.slot())
    body["items"][0] |= item
    answer = post(app, body)
    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert pointer in [error["pointer"] for error in answer.body["errors"]]


def test_a_slot_or_an_add_on_is_named_once(app: App) -> None:
    """The same slot in two items, or the same add-on twice in one, is 422."""
    body = app.hold_request(app.slot())
    twice = body | {"items": body["items"] * 2}
    assert post(app, twice).status == 422
    add_on = {"id": str(uuid4()), "quantity": 1}
    body["items"][0]["add_ons"] = [add_on, add_on]
    assert post(app, body).status == 422


def test_one_to_twenty_items(app: App) -> None:
    """Twenty slots fit into one hold, twenty-one do not; fifty units of a slot do."""
    slug = app.offering()
    slots = [app.slot(slug, units=50, starts_in=f"{n + 1} days") for n in range(21)]
    assert app.try_hold(dict.fromkeys(slots, 1)).status == 422
    answer = app.try_hold(dict.fromkeys(slots[:20], 50))
    assert answer.status == 201
    assert answer.body["amount"] == 20 * 50 * 4500
    assert app.violations() == []


# Keys.


@on_every_postgres
def test_the_same_key_and_body_is_answered_byte_for_byte(app: App) -> None:
    """A second call under the key gets the stored answer with its token, says so, and holds nothing."""
    slot, key = app.slot(), new_key()
    body = app.hold_request(slot, 2)

    first, second = post(app, body, key), post(app, body, key)

    assert first.status == second.status == 201
    assert first.text == second.text
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert app.counts(slot) == (2, 0, 1, 0)
    assert app.count("ticket_reservations") == 1


def test_a_replay_survives_everything_that_happens_to_the_hold(app: App) -> None:
    """The answer is the stored one, also when the hold is over or the price has changed."""
    slot, key = app.slot(), new_key()
    body = app.hold_request(slot)
    first = post(app, body, key)
    app.rows("UPDATE ticket_reservations SET expires_at = now() - interval '1 s'")
    app.rows("UPDATE offerings SET unit_amount = 1")
    app.rows("UPDATE slots SET is_legacy = true")
    assert post(app, body, key).text == first.text


def test_another_body_under_the_key_is_422_and_does_nothing(app: App) -> None:
    """The same key with other units is refused; nothing is held for it."""
    slot, key = app.slot(), new_key()
    body = app.hold_request(slot, 1, email="ada@example.com")
    assert post(app, body, key).status == 201

    answer = post(app, app.hold_request(slot, 2, email="ada@example.com"), key)

    assert (answer.status, answer.problem) == (422, "idempotency-key-reused")
    assert app.counts(slot) == (1, 0, 1, 0)


def test_how_the_body_is_written_makes_no_difference(app: App) -> None:
    """The same request with its fields in another order is the same request."""
    slot, key = app.slot(), new_key()
    body = app.hold_request(slot)
    first = post(app, body, key)
    assert post(app, dict(reversed(body.items())), key).text == first.text


@pytest.mark.parametrize("written", ["{}", '"{}"'])
@pytest.mark.parametrize("name", ["idempotency-key", "x-idempotency-key"])
def test_a_key_is_the_same_bare_quoted_and_under_either_name(app: App, name: str, written: str) -> None:
    """Quotes and the name of the header are not part of the key."""
    slot, key = app.slot(), new_key()
    body = app.hold_request(slot)
    first = post(app, body, key)
    again = app.call("reservations", "POST", "/reservations", body, {name: written.format(key)})
    assert again.text == first.text


def test_only_success_is_stored(app: App) -> None:
    """A refused call may be tried again under its key, with the same body, and then succeeds."""
    slot, key = app.slot(units=1), new_key()
    taken = app.hold(slot)
    body = app.hold_request(slot)
    assert post(app, body, key).problem == "sold-out"
    assert app.count("idempotency_keys") == 0
    assert app.cancel(taken).status == 200

    assert post(app, body, key).status == 201


def test_a_key_belongs_to_its_caller(app: App) -> None:
    """The same key of another address is another key; the case of the address makes no other caller."""
    slot, key = app.slot(), new_key()
    ada = post(app, app.hold_request(slot, email="ada@example.com"), key)
    bob = post(app, app.hold_request(slot, email="bob@example.com"), key)
    assert ada.body["id"] != bob.body["id"]
    assert app.rows("SELECT scope FROM idempotency_keys ORDER BY 1") == [
        ("reservations:ada@example.com",),
        ("reservations:bob@example.com",),
    ]
    shouted = post(app, app.hold_request(slot, 2, email="ADA@example.com"), key)
    assert shouted.problem == "idempotency-key-reused"


@pytest.mark.parametrize("key", ["k" * 15, "", "ü" * 20, "k" * 256])
def test_a_key_that_will_not_do_is_400(app: App, key: str) -> None:
    """An anonymous caller's key has 16 to 255 visible ASCII characters."""
    body = app.hold_request(app.slot())
    answer = app.call("reservations", "POST", "/reservations", body, {"idempotency-key": key})
    assert (answer.status, answer.problem) == (400, "invalid-idempotency-key")
    assert app.count("ticket_reservations") == 0


def test_without_a_key_each_call_is_a_hold_of_its_own(app: App) -> None:
    """Nothing is replayed without a key."""
    slot = app.slot()
    body = app.hold_request(slot)
    assert post(app, body).body["id"] != post(app, body).body["id"]
    assert app.counts(slot) == (2, 0, 2, 0)


# Showing.


def test_a_hold_is_shown_to_the_holder_of_its_token(app: App) -> None:
    """The same as was answered, without the token."""
    slot = app.slot()
    answer = post(app, app.hold_request(slot, 2))
    token = answer.body["token"]
    shown = app.call(
        "reservations", "GET", f"/reservations/{answer.body['id']}", headers={"x-reservation-token": token}
    )
    expected = {name: value for name, value in answer.body.items() if name != "token"}
    assert (shown.status, shown.body) == (200, expected)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_without_the_token_there_is_nothing(app: App, method: str) -> None:
    """No token, another hold's token, an unknown id and an id that is none are all 404."""
    slot = app.slot()
    hold, other = app.hold(slot), app.hold(slot)
    stranger = str(uuid4())
    for reservation, token in [
        (hold.id, None),
        (hold.id, ""),
        (hold.id, other.token),
        (hold.id, "ü"),
        (stranger, hold.token),
        (stranger, reservation_token(stranger, TOKEN_SECRET)),
        ("17", hold.token),
    ]:
        headers = {} if token is None else {"x-reservation-token": token}
        answer = app.call("reservations", method, f"/reservations/{reservation}", headers=headers)
        assert (answer.status, answer.problem) == (404, "unknown-reservation")
    assert app.status(hold) == "active"


def test_payment_and_booking_are_shown_once_they_are_there(app: App) -> None:
    """A hold shows its payment without secrets, then its booking."""
    slot = app.slot()
    hold = app.hold(slot)
    assert not {"payment", "booking_id"} & set(app.show(hold))
    payment = app.payment(hold)
    shown = app.show(hold)
    assert shown["payment"]["payment_id"] == payment.id
    assert shown["payment"]["status"] == "requires_payment_method"
    assert "client_secret" not in str(shown)
    assert "booking_id" not in shown
    app.confirm(payment)
    app.outcome(app.event(payment.intent_id, "payment_intent.succeeded"))
    assert app.show(hold)["booking_id"] == str(app.value("SELECT id FROM bookings"))
    assert app.show(hold)["payment"]["status"] == "succeeded"


def test_a_hold_that_is_over_is_shown_as_expired_at_once(app: App) -> None:
    """Before any cleanup has run the holder already sees that it is over."""
    hold = app.hold(app.slot())
    app.expire(hold)
    assert app.show(hold)["status"] == "expired"
    assert app.status(hold) == "active"


def test_a_hold_costs_the_same_however_much_its_slot_has_sold(app: App) -> None:
    """What is over is looked up hold by hold: nobody reads all that a slot ever sold to learn what is left of it."""
    popular = app.slot(units=1000)
    app.rows("INSERT INTO customers (email, name) VALUES ('regular@example.com', 'Regular')")
    app.rows(
        """
        WITH old AS (
            INSERT INTO ticket_reservations (id, customer_id, status, expires_at, ceiling_at, amount, currency)
            SELECT gen_random_uuid(), c.id, 'cancelled', now(), now(), 0, 'eur'
            FROM customers c, generate_series(1, 500) RETURNING id)
        INSERT INTO reservation_items (reservation_id, slot_id, units, unit_amount) SELECT id, %s, 1, 0 FROM old
        """,
        popular,
    )
    app.expire(*[app.hold(app.slot()) for _ in range(3)])
    items = f"""[{{"slot_id": "{popular}", "units": 1, "add_ons": []}}]"""
    with psycopg.connect(app.owner_url) as conn:
        conn.execute("SELECT reserve_tickets(gen_random_uuid(), 'new@example.com', 'New', NULL, %s)", [items])
        (read,) = conn.execute(
            """
            SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables
            WHERE relname = 'reservation_items'
            """
        ).fetchone() or (None,)
    assert read is not None
    assert 0 < read < 100
