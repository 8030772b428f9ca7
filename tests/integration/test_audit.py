"""Every change of what is worth money has its entry: who, from where, why, before and after; nobody writes another."""

import hashlib
import hmac
import json
from collections.abc import Generator
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.support.app import App
from tests.support.lambda_events import SOURCE_IP, USER_AGENT
from tests.support.postgres import on_every_postgres
from tests.support.sign_in import SECRET, token

# The tables, and what becomes of a row in each that counts: by raw SQL, so that no function has to do with it.
CHANGES = {
    "customers": "UPDATE customers SET phone = '+43 1 234567'",
    "offerings": "UPDATE offerings SET unit_amount = unit_amount + 1",
    "add_ons": "UPDATE add_ons SET unit_amount = unit_amount + 1",
    "slots": "UPDATE slots SET max_units = max_units + 1 WHERE sold_units = 0",
    "ticket_reservations": "UPDATE ticket_reservations SET amount = amount + 1",
    "reservation_items": "UPDATE reservation_items SET unit_amount = 700 WHERE unit_amount = 600",
    "reservation_add_ons": "UPDATE reservation_add_ons SET quantity = quantity + 1",
    "payment_intents_log": "UPDATE payment_intents_log SET status = 'looked at'",
    "bookings": "UPDATE bookings SET payment_status = 'disputed'",
    "booking_items": "UPDATE booking_items SET units = units + 1",
    "booking_add_ons": "UPDATE booking_add_ons SET quantity = quantity + 1",
    "refunds": "UPDATE refunds SET reason = 'other'",
    "disputes": "UPDATE disputes SET status = 'lost'",
    "user_credits": "UPDATE user_credits SET balance = balance + 1",
    "credit_grants": "UPDATE credit_grants SET expires_at = now()",
    "credit_entries": "INSERT INTO credit_entries (user_id, grant_id, kind, delta, reason) SELECT user_id, id, 'deduct', -1, 'test' FROM credit_grants",
    "schedules": "UPDATE schedules SET timezone = 'Europe/Vienna'",
    "schedule_rules": "UPDATE schedule_rules SET minutes = 30",
    "blackout_dates": "UPDATE blackout_dates SET day = day + 1",
}
# Nothing that anybody is owed: leases, counters, logs, keys.
UNAUDITED = {
    *("audit_checkpoints", "audit_key", "audit_seals", "booking_audit_log", "error_groups", "error_logs"),
    *("idempotency_keys", "job_cursors", "job_runs", "outbox", "rate_limits", "schema_migrations"),
    *("webhook_events_log", "offering_bookings"),
}
SEEN = "SELECT table_name, action_type, performed_by, performed_by_id FROM booking_audit_log ORDER BY id"


@pytest.fixture
def as_app(app: App) -> Generator[psycopg.Connection[Any]]:
    """What the functions are to the database."""
    with psycopg.connect(app.app_url, autocommit=True) as conn:
        yield conn


def one_of_each(app: App) -> str:
    """A row in every audited table; answers the booking's id."""
    offering = app.offering()
    app.add_on(offering)
    hold = app.booked(app.slot(offering)).hold
    app.slot(offering)
    app.rows(
        """
        INSERT INTO reservation_items (reservation_id, slot_id, units, unit_amount)
        SELECT r.id, s.id, 1, 600 FROM ticket_reservations r, slots s WHERE s.held_units + s.sold_units = 0;
        INSERT INTO reservation_add_ons SELECT i.id, a.id, 1, 600 FROM reservation_items i, add_ons a WHERE i.unit_amount = 600;
        INSERT INTO booking_add_ons SELECT i.id, a.id, 1, 600 FROM booking_items i, add_ons a;
        INSERT INTO refunds (payment_id, amount, reason) SELECT id, 100, 'test' FROM payment_intents_log;
        INSERT INTO disputes (id, stripe_dispute_id, payment_id, status, status_at, standing, amount, currency)
        SELECT gen_random_uuid(), 'dp_1', id, 'open', now(), 'open', 100, 'eur' FROM payment_intents_log;
        INSERT INTO schedules (offering_id, timezone, starts_on, ends_on) SELECT id, 'UTC', '2030-01-01', '2030-02-01' FROM offerings;
        INSERT INTO schedule_rules SELECT offering_id, 0, '09:00', 60, 1, 1 FROM schedules;
        INSERT INTO blackout_dates SELECT offering_id, '2030-01-02' FROM schedules
        """
    )
    app.grant("ada", 5)
    return str(app.value("SELECT id FROM bookings WHERE reservation_id = %s", hold.id))


def test_every_table_is_audited_or_said_not_to_be(app: App) -> None:
    """A new table is worth money, or somebody says here that it is not."""
    tables = {name for (name,) in app.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert tables == CHANGES.keys() | UNAUDITED


@on_every_postgres
def test_every_change_by_raw_sql_leaves_an_entry(app: App) -> None:
    """Before and after, under the role that did it, and with its booking where there is one; TRUNCATE as well."""
    booking = one_of_each(app)
    inserted = {(name, action) for name, action, *_ in app.rows(SEEN)}
    assert inserted >= {(name, "insert") for name in CHANGES}
    for name, change in CHANGES.items():
        before = app.count("booking_audit_log")
        app.rows(change)
        found = app.rows(
            """
            SELECT action_type, performed_by, performed_by_id, booking_id::text, old_values IS DISTINCT FROM new_values
            FROM booking_audit_log WHERE id > %s AND table_name = %s
            """,
            before,
            name,
        )
        action = "insert" if name == "credit_entries" else "update"
        of_booking = name.startswith("booking") or name in (
            *("refunds", "disputes", "ticket_reservations", "payment_intents_log"),
            *("reservation_items", "reservation_add_ons"),
        )
        assert found == [(action, "database", "holdfast_owner", booking if of_booking else None, True)], name
    app.rows("ALTER TABLE credit_entries DISABLE TRIGGER credit_entries_are_never_truncated")
    app.rows("TRUNCATE offerings, customers, user_credits CASCADE")
    truncated = {name for name, action, *_ in app.rows(SEEN) if action == "truncate"}
    assert truncated == CHANGES.keys()


WORK = """
    UPDATE ticket_reservations SET expires_at = now(), ceiling_at = now();
    UPDATE payment_intents_log SET lease_until = now(), attempt = attempt + 1, next_ask_at = now();
    UPDATE slots SET held_units = held_units + 1, held_bookings = held_bookings + 1;
"""


def test_what_is_of_no_value_leaves_no_entry(app: App) -> None:
    """A hold's deadline, a payment's lease, a slot's counts: where a function is at work they change all the time."""
    one_of_each(app)
    before = app.count("booking_audit_log")
    app.rows(f"""SELECT set_config('holdfast.context', '{{"actor": "system"}}', true); {WORK}""")
    assert app.count("booking_audit_log") == before


def test_counts_and_deadlines_that_are_changed_by_hand_leave_an_entry(app: App) -> None:
    """Before and after."""
    app.hold(app.slot())
    before = app.count("booking_audit_log")
    app.rows(WORK)
    assert app.rows(
        """
        SELECT table_name, performed_by, old_values ->> 'held_units', new_values ->> 'held_units'
        FROM booking_audit_log WHERE id > %s ORDER BY id
        """,
        before,
    ) == [("ticket_reservations", "database", None, None), ("slots", "database", "1", "2")]


def test_a_hold_is_two_entries(app: App) -> None:
    """The customer, if new, and the hold with its price: no more, because everybody pays for them."""
    app.hold(slot := app.slot())
    app.hold(slot, email="ada@example.com")
    before = app.count("booking_audit_log")
    app.hold(slot, email="ada@example.com")
    assert app.rows(
        "SELECT table_name, action_type, new_values ->> 'amount' FROM booking_audit_log WHERE id > %s", before
    ) == [("ticket_reservations", "insert", "4500")]
    assert (
        before
        == app.value("SELECT count(*) FROM booking_audit_log WHERE table_name IN ('slots', 'offerings')") + 4
    )


def test_every_act_of_a_purchase_says_who_did_it(app: App) -> None:
    """The buyer holds and pays, Stripe confirms, the clean-up ends what is over: with address, agent, request and reason."""
    slot = app.slot()
    forgotten = app.hold(slot)
    payment = app.booked(slot)
    app.expire(forgotten)
    app.invoke("reservation-cleanup")

    said = app.rows(
        """
        SELECT table_name, action_type, performed_by, performed_by_id, ip_address, user_agent, reason
        FROM booking_audit_log WHERE request_id IS NOT NULL AND row_id IN (%s, %s, %s) ORDER BY id
        """,
        forgotten.id,
        payment.hold.id,
        payment.id,
    )
    by_buyer = ("customer", None, SOURCE_IP, USER_AGENT)
    by_stripe = ("stripe", None, SOURCE_IP, USER_AGENT, "webhook")
    assert said == [
        ("ticket_reservations", "insert", *by_buyer, "holds"),
        ("ticket_reservations", "insert", *by_buyer, "holds"),
        ("payment_intents_log", "insert", *by_buyer, "pays"),
        ("payment_intents_log", "update", *by_buyer, "pays"),
        ("payment_intents_log", "update", *by_stripe),
        ("ticket_reservations", "update", *by_stripe),
        ("ticket_reservations", "update", "system", "reservation-cleanup", "127.0.0.1", None, "expired"),
    ]
    unnamed = "SELECT table_name, performed_by FROM booking_audit_log WHERE performed_by = 'database' AND performed_by_id = 'app'"
    assert app.rows(unnamed) == []


def test_no_personal_data_is_in_the_audit(app: App) -> None:
    """Email, name and phone are there as HMAC-SHA256 under a key that is in the database alone."""
    slot = app.slot()
    request = app.hold_request(slot, email="Ada@Example.com", phone="+43 1 2345678901") | {}
    assert app.call("reservations", "POST", "/reservations", request).status == 201
    log = app.value("SELECT string_agg(l::text, '') FROM booking_audit_log l")
    for word in ("Ada@Example.com", "Ada Example", "2345678901"):
        assert word.lower() not in log.lower()
    inner, outer = app.row("SELECT inner_pad, outer_pad FROM audit_key")
    key = bytes(byte ^ 0x36 for byte in inner)
    assert key == bytes(byte ^ 0x5C for byte in outer)
    assert len(set(key[:32])) > 16
    kept = app.value("SELECT new_values FROM booking_audit_log WHERE table_name = 'customers'")
    for column, value in {
        "email": "Ada@Example.com",
        "name": "Ada Example",
        "phone": "+43 1 2345678901",
    }.items():
        digest = hmac.new(key, value.encode(), hashlib.sha256).hexdigest()
        assert kept[column] == f"hmac-sha256:{digest}"


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO booking_audit_log (table_name, action_type, performed_by) VALUES ('bookings', 'update', 'me')",
        "UPDATE booking_audit_log SET reason = 'x'",
        "DELETE FROM booking_audit_log",
        "INSERT INTO audit_seals (position, entry_id, hash) VALUES (1, 1, '')",
        "DELETE FROM audit_seals",
        "INSERT INTO audit_checkpoints (position, hash) VALUES (1, '')",
        "SELECT * FROM audit_key",
        "SELECT append_audit('bookings', NULL, NULL, 'note', NULL, NULL)",
        "SELECT write_audit('bookings', NULL, NULL, 'update', NULL, NULL)",
        "SELECT prune_audit(interval '364 days', 1000)",
    ],
)
def test_the_functions_cannot_write_change_or_remove_entries(
    app: App, as_app: psycopg.Connection[Any], query: str
) -> None:
    """By grants, whatever becomes of the triggers; what they may call, only seals and prunes what is years old."""
    app.hold(app.slot())
    app.rows(
        "ALTER TABLE booking_audit_log DISABLE TRIGGER USER; ALTER TABLE audit_seals DISABLE TRIGGER USER"
    )
    before = app.value("SELECT json_agg(l)::text FROM booking_audit_log l")
    with pytest.raises((errors.InsufficientPrivilege, errors.CheckViolation)):
        as_app.execute(query.encode())
    assert app.value("SELECT json_agg(l)::text FROM booking_audit_log l") == before


def test_error_writer_writes_nothing_to_the_audit(app: App) -> None:
    """Whom anybody may call, can neither note nor seal."""
    with psycopg.connect(app.error_writer_url, autocommit=True) as conn:
        for call in (
            "write_audit('x', NULL, NULL, 'note', NULL, NULL)",
            "seal_audit(10)",
            "prune_audit('2 years', 1)",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                conn.execute(f"SELECT {call}".encode())


def test_an_administrator_reads_the_story_of_a_booking(app: App) -> None:
    """From the hold on, oldest first; sealed or not yet; of a booking that is gone as well, and of no other."""
    app.set(JWT_SECRET=SECRET)
    slot = app.slot()
    app.booked(slot)
    hold = app.booked(slot).hold
    booking_id = app.value("SELECT id FROM bookings WHERE reservation_id = %s", hold.id)
    headers = {"authorization": f"Bearer {token(role='admin')}"}
    answer = app.call("admin", "GET", f"/bookings/{booking_id}/audit", headers=headers)

    assert answer.status == 200
    entries = answer.body["entries"]
    assert [(entry["table_name"], entry["action_type"], entry["performed_by"]) for entry in entries] == [
        ("ticket_reservations", "insert", "customer"),
        ("payment_intents_log", "insert", "customer"),
        ("payment_intents_log", "update", "customer"),
        ("payment_intents_log", "update", "stripe"),
        ("bookings", "insert", "stripe"),
        ("booking_items", "insert", "stripe"),
        ("ticket_reservations", "update", "stripe"),
    ]
    assert {entry["sealed"] for entry in entries} == {False}
    assert json.dumps(entries).count(hold.id) >= 5
    app.rows("DELETE FROM booking_items; DELETE FROM bookings")
    app.invoke("seal-audit")
    answer = app.call("admin", "GET", f"/bookings/{booking_id}/audit", headers=headers)
    assert answer.body["entries"][-1]["action_type"] == "delete"
    assert {entry["sealed"] for entry in answer.body["entries"]} == {True}
    for other in ("00000000-0000-4000-8000-000000000000", "no-uuid"):
        assert (
            app.call("admin", "GET", f"/bookings/{other}/audit", headers=headers).problem == "unknown-booking"
        )
    assert app.call("admin", "GET", f"/bookings/{booking_id}/audit").status == 401
    customer = {"authorization": f"Bearer {token()}"}
    assert app.call("admin", "GET", f"/bookings/{booking_id}/audit", headers=customer).status == 403


def test_every_act_over_http_says_who_where_and_why(app: App) -> None:
    """Administrators and buyers, over everything that can be changed: never the bare role of the functions."""
    app.set(JWT_SECRET=SECRET)
    admin = {"authorization": f"Bearer {token(role='admin', sub='ops-7')}"}
    ada = {"authorization": f"Bearer {token(sub='ada')}"}
    offering = {
        "name": "Yoga",
        "kind": "class",
        "unit_amount": 1500,
        "currency": "eur",
        "credits_price": 2,
        "timezone": "UTC",
        "pay_on_arrival": True,
        "add_ons": [{"name": "Mat", "unit_amount": 300}],
    }
    schedule = {
        "timezone": "UTC",
        "from": "2030-01-01",
        "until": "2030-01-31",
        "blackout_dates": ["2030-01-07"],
        "rules": [{"weekday": 0, "start": "09:00", "minutes": 60, "max_bookings": 5, "max_units": 5}],
    }
    for method, path, body in (
        ("PUT", "/offerings/yoga", offering),
        ("PUT", "/offerings/yoga/schedule", schedule),
        ("POST", "/customers/ada/credits", {"delta": 5, "reason": "a gift"}),
    ):
        assert app.call("admin", method, path, body, admin).status in (200, 201), path
    slots = [str(slot) for (slot,) in app.rows("SELECT id FROM slots ORDER BY starts_at")]
    hold = app.hold(slots[0])
    answer = app.book(hold, "credits", **ada)
    assert answer.status == 201, answer
    booking = f"/bookings/{answer.body['id']}"
    moved = app.call(
        "bookings", "POST", f"{booking}/reschedule", {"slot_id": slots[1]}, {**ada, "if-match": "1"}
    )
    assert moved.status == 200, moved
    gone = app.call("bookings", "POST", f"{booking}/cancel", {"reason": "ill"}, {**ada, "if-match": "2"})
    assert gone.status == 200, gone
    assert (
        app.call(
            "reservations",
            "DELETE",
            f"/reservations/{(other := app.hold(slots[0])).id}",
            headers=other.headers,
        ).status
        == 200
    )

    said = app.rows(
        """
        SELECT DISTINCT table_name, performed_by, performed_by_id, ip_address, user_agent, reason
        FROM booking_audit_log ORDER BY 1, 2, 6
        """
    )
    by_admin, by_ada = ("admin", "ops-7", SOURCE_IP, USER_AGENT), ("customer", "ada", SOURCE_IP, USER_AGENT)
    assert {row[1:5] for row in said} == {by_admin, by_ada, ("customer", None, SOURCE_IP, USER_AGENT)}
    assert {row[0] for row in said if row[1:5] == by_admin} == {
        *("offerings", "add_ons", "slots", "schedules", "schedule_rules", "blackout_dates"),
        *("user_credits", "credit_grants", "credit_entries"),
    }
    assert {row[0] for row in said if row[1:5] == by_ada} == {
        *(
            "bookings",
            "booking_items",
            "credit_entries",
            "credit_grants",
            "user_credits",
            "ticket_reservations",
        ),
    }
    assert ("bookings", *by_ada, "ill") in said
    assert all(row[5] for row in said), said
    of_the_booking = "SELECT kind FROM credit_entries e JOIN booking_audit_log l ON l.new_values ->> 'id' = e.id::text AND l.table_name = 'credit_entries' WHERE l.booking_id = %s ORDER BY e.id"
    assert app.rows(of_the_booking, answer.body["id"]) == [("spend",), ("return",)]
