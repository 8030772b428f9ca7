"""What the database itself keeps, whoever writes: constraints, transitions, facts, roles, the audit."""

from collections.abc import Generator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from tests.support.app import App
from tests.support.lambda_events import SOURCE_IP, USER_AGENT
from tests.support.postgres import on_every_postgres
from tests.support.stripe_events import event_of, intent

pytestmark = on_every_postgres


@pytest.fixture
def as_app(app: App) -> Generator[psycopg.Connection[Any]]:
    """A connection as the functions have it."""
    with psycopg.connect(app.app_url, autocommit=True) as conn:
        yield conn


@pytest.fixture
def as_error_writer(app: App) -> Generator[psycopg.Connection[Any]]:
    """A connection as log-error has it."""
    with psycopg.connect(app.error_writer_url, autocommit=True) as conn:
        yield conn


def refused(app: App, constraint: str, query: str, *params: object) -> None:
    """The owner's statement is refused by this constraint."""
    with pytest.raises(psycopg.IntegrityError) as violation:
        app.rows(query, *params)
    assert violation.value.diag.constraint_name == constraint


# Slots.


@pytest.mark.parametrize(
    "change",
    [
        "held_units = 8, sold_units = 3",
        "held_units = 11",
        "sold_units = 11",
        "held_bookings = 4, sold_bookings = 1",
        "max_units = 1",
        "max_bookings = 0",
    ],
)
def test_a_slot_never_holds_and_sells_more_than_it_has(app: App, change: str) -> None:
    """In units and in bookings, whether the counts grow or the capacity shrinks."""
    slot = app.slot(units=10, bookings=4)
    app.hold(slot, 2)
    refused(app, "slots_never_oversold", f"UPDATE slots SET {change} WHERE id = %s", slot)


@pytest.mark.parametrize("column", ["held_units", "sold_units", "held_bookings", "sold_bookings"])
def test_counts_are_never_negative(app: App, column: str) -> None:
    """A release too many is refused."""
    refused(
        app, "slots_counts_are_never_negative", f"UPDATE slots SET {column} = -1 WHERE id = %s", app.slot()
    )


def test_a_resource_is_in_one_place_at_a_time(app: App) -> None:
    """Two slots of one chair never overlap; back to back, and with another chair, they may."""
    chair = str(uuid4())
    slug = app.offering()
    app.slot(slug, resource_id=chair, starts_in="24 hours", lasts="1 hour")
    app.slot(slug, resource_id=chair, starts_in="25 hours", lasts="1 hour")
    app.slot(slug, resource_id=str(uuid4()), starts_in="24 hours", lasts="1 hour")
    app.slot(slug, starts_in="24 hours")
    with pytest.raises(errors.ExclusionViolation) as violation:
        app.slot(slug, resource_id=chair, starts_in="24 hours 30 minutes", lasts="1 hour")
    assert violation.value.diag.constraint_name == "slots_resource_is_in_one_place_at_a_time"


def test_a_slot_ends_after_it_starts(app: App) -> None:
    """No slot of no length."""
    refused(
        app, "slots_end_after_they_start", "UPDATE slots SET ends_at = starts_at WHERE id = %s", app.slot()
    )


def test_the_version_is_the_databases_to_count(app: App) -> None:
    """Whoever changes an offering, an add-on or a booking changes its version, whatever he says it is."""
    slug = app.offering()
    app.rows("UPDATE offerings SET version = 99, name = 'New' WHERE slug = %s", slug)
    assert app.value("SELECT version FROM offerings WHERE slug = %s", slug) == 2
    app.booked(app.slot())
    app.rows("UPDATE bookings SET payment_status = 'disputed'")
    assert app.value("SELECT version FROM bookings") == 2


def test_a_customer_is_one_whatever_the_case(app: App) -> None:
    """The address is unique without regard to case."""
    app.hold(app.slot(), email="ada@example.com")
    refused(
        app,
        "customers_email_is_unique",
        "INSERT INTO customers (email, name) VALUES ('ADA@example.com', 'A')",
    )


# Holds.

LEGAL = {
    ("active", "expired"),
    ("active", "completed"),
    ("active", "cancelled"),
    ("expired", "completed"),
    ("expired", "cancelled"),
}


@pytest.mark.parametrize("old", ["active", "expired", "completed", "cancelled"])
def test_a_hold_ends_once(app: App, old: str) -> None:
    """The transition table: what has ended in one way does not end in another, and nothing comes back to life."""
    for new in ("active", "expired", "completed", "cancelled"):
        hold = app.hold(app.slot())
        if old != "active":
            app.rows("UPDATE ticket_reservations SET status = %s WHERE id = %s", old, hold.id)
        query = "UPDATE ticket_reservations SET status = %s WHERE id = %s"
        if new == old or (old, new) in LEGAL:
            app.rows(query, new, hold.id)
        else:
            refused(app, "reservations_transition_is_legal", query, new, hold.id)


def test_operators_may_move_the_deadline(app: App) -> None:
    """Nothing ties expires_at to anything."""
    hold = app.hold(app.slot())
    app.rows("UPDATE ticket_reservations SET expires_at = now() - interval '1 year' WHERE id = %s", hold.id)
    app.rows("UPDATE ticket_reservations SET expires_at = now() + interval '1 year' WHERE id = %s", hold.id)


# Payments.


@pytest.mark.parametrize(
    "change",
    [
        "captured_amount = 4499",
        "refunded_amount = 0",
        "attempt = 0",
        "key_number = 0",
        "disputed_at = NULL",
        "canceled_at = NULL",
        "funds_awaited_at = NULL",
        "payment_intent_id = 'pi_other'",
        "payment_intent_id = NULL",
        "checkout_session_id = NULL",
        "amount = 1",
        "currency = 'usd'",
    ],
)
def test_the_facts_of_a_payment_only_grow(app: App, change: str) -> None:
    """What Stripe has once said is never unsaid."""
    app.payment(app.hold(app.slot()))
    app.rows(
        """
        UPDATE payment_intents_log SET captured_amount = 4500, refunded_amount = 100, disputed_at = now(),
            canceled_at = now(), funds_awaited_at = now(), checkout_session_id = 'cs_1'
        """
    )
    refused(app, "payments_facts_only_grow", f"UPDATE payment_intents_log SET {change}")
    app.rows(
        "UPDATE payment_intents_log SET refunded_amount = 4500, attempt = attempt + 1, key_number = key_number + 1"
    )


def test_a_hold_has_one_live_payment(app: App) -> None:
    """A second one beside it is refused by the database itself."""
    payment = app.payment(app.hold(app.slot()))
    copy = """
        INSERT INTO payment_intents_log (id, reservation_id, mode, idempotency_key, amount, currency, parameters, lease_until, canceled_at)
        SELECT gen_random_uuid(), reservation_id, mode, %s, amount, currency, '{}', now(), %s::timestamptz FROM payment_intents_log WHERE id = %s
    """
    refused(app, "payments_one_live_a_reservation", copy, "payment:x:1", None, payment.id)
    app.rows(copy, "payment:x:1", "2026-01-01", payment.id)
    refused(app, "payments_idempotency_key_is_unique", copy, "payment:x:1", "2026-01-01", payment.id)


def test_refunds_never_exceed_the_payment(app: App) -> None:
    """The sum of what is due and what went is bounded by what was captured, also when an amount is changed later."""
    payment = app.booked(app.slot())
    add = "INSERT INTO refunds (payment_id, amount, reason) VALUES (%s, %s, 'r')"
    refused(app, "refunds_never_exceed_the_payment", add, payment.id, 4501)
    app.rows(add, payment.id, 4000)
    refused(app, "refunds_never_exceed_the_payment", add, payment.id, 501)
    app.rows(add, payment.id, 500)
    refused(app, "refunds_never_exceed_the_payment", "UPDATE refunds SET amount = 501 WHERE amount = 500")
    app.rows("UPDATE refunds SET status = 'failed' WHERE amount = 4000")
    app.rows(add, payment.id, 4000)
    refused(
        app,
        "refunds_never_exceed_the_payment",
        "UPDATE refunds SET status = 'pending' WHERE status = 'failed'",
    )
    refused(
        app, "payments_refund_no_more_than_captured", "UPDATE payment_intents_log SET refunded_amount = 4501"
    )


def test_only_success_is_stored_under_a_key(app: App) -> None:
    """An answer that is no success cannot even be written."""
    query = "INSERT INTO idempotency_keys (scope, key, request_hash, lease_until, status, answer) VALUES ('s', 'k', 'h', now(), %s, %s)"
    refused(app, "idempotency_keys_store_only_success", query, 409, "{}")
    refused(app, "idempotency_keys_answer_is_whole", query, 201, None)


# Bookings.


def test_no_booking_is_made_in_the_past(app: App) -> None:
    """On INSERT, never on UPDATE: what has begun can still be corrected and cancelled."""
    slot = app.slot()
    app.booked(slot)
    app.rows("UPDATE slots SET starts_at = now() - interval '1 minute' WHERE id = %s", slot)
    add = "INSERT INTO booking_items (booking_id, slot_id, units, unit_amount) SELECT id, %s, 1, 1 FROM bookings"
    refused(app, "bookings_are_never_made_in_the_past", add, slot)
    app.rows("UPDATE bookings SET status = 'cancelled', payment_status = 'refunded'")
    app.rows("UPDATE booking_items SET units = 2")


@pytest.mark.parametrize(
    ("method", "status"),
    [
        ("pay_now", "pending"),
        ("pay_now", "free"),
        ("credits", "pending"),
        ("free", "paid"),
        ("pay_on_arrival", "disputed"),
    ],
)
def test_method_and_payment_status_fit(app: App, method: str, status: str) -> None:
    """Only the pairs that make sense can be written."""
    app.booked(app.slot())
    query = "UPDATE bookings SET payment_method = %s, payment_status = %s, payment_id = CASE WHEN %s THEN payment_id END"
    refused(app, "bookings_method_and_payment_status_fit", query, method, status, method == "pay_now")


# The audit.


def entries(app: App) -> list[tuple[Any, ...]]:
    return app.rows(
        "SELECT table_name, action_type, performed_by, performed_by_id, reason FROM booking_audit_log ORDER BY id"
    )


def test_a_booking_is_audited_with_who_from_where_and_why(app: App) -> None:
    """Every row of the sale has its entry: before, after, actor, address, agent, reason, request and event."""
    payment = app.payment(app.hold(app.slot(), 2))
    assert payment.intent_id is not None
    event = event_of("payment_intent.succeeded", intent(payment.intent_id, 9000, "succeeded"))
    assert app.outcome(event) == "processed"

    assert [row[:3] for row in entries(app) if row[2] == "stripe"] == [
        ("payment_intents_log", "update", "stripe"),
        ("bookings", "insert", "stripe"),
        ("booking_items", "insert", "stripe"),
        ("ticket_reservations", "update", "stripe"),
    ]
    row = app.row(
        """
        SELECT booking_id, old_values, new_values ->> 'amount', ip_address, user_agent, reason, request_id, stripe_event_id
        FROM booking_audit_log WHERE table_name = 'bookings'
        """
    )
    booking = app.value("SELECT id FROM bookings")
    assert row == (
        booking,
        None,
        "9000",
        SOURCE_IP,
        USER_AGENT,
        "webhook",
        app.value("SELECT request_id FROM payment_intents_log"),
        event["id"],
    )


def test_raw_sql_is_audited_too(app: App) -> None:
    """Before and after of what an operator changes by hand, under the role that did it; deletions and TRUNCATE too."""
    app.booked(app.slot())
    booking = app.value("SELECT id FROM bookings")
    app.rows("UPDATE bookings SET payment_status = 'disputed'")
    assert app.row(
        """
        SELECT booking_id, old_values ->> 'payment_status', new_values ->> 'payment_status', performed_by, performed_by_id
        FROM booking_audit_log WHERE action_type = 'update' AND table_name = 'bookings'
        """
    ) == (booking, "paid", "disputed", "database", "holdfast_owner")
    app.rows("DELETE FROM booking_items")
    assert app.row("SELECT booking_id, new_values FROM booking_audit_log WHERE action_type = 'delete'") == (
        booking,
        None,
    )
    app.rows("TRUNCATE refunds CASCADE")
    assert ("refunds", "truncate", "database", "holdfast_owner", None) in entries(app)


def test_refunds_are_audited(app: App) -> None:
    """The row of a refund, and what becomes of it."""
    payment = app.payment(app.hold(app.slot()))
    app.confirm(payment)
    app.rows("SELECT release_holds(ARRAY[%s]::uuid[], 'cancelled')", payment.hold.id)
    app.outcome(app.event(payment.intent_id, "payment_intent.succeeded"))
    app.set(NOTIFICATION_WEBHOOK_URL="")
    app.invoke("deliver-outbox")
    audited = [row for row in entries(app) if row[0] == "refunds"]
    assert (
        audited[0] == ("refunds", "insert", "stripe", "holdfast_owner", "webhook")
        or audited[0][2] == "stripe"
    )
    assert audited[-1][1:3] == ("update", "system")
    assert audited[-1][3:] == ("deliver-outbox", "reservation-cancelled")


@pytest.mark.parametrize(
    "query",
    [
        "UPDATE booking_audit_log SET reason = 'x'",
        "DELETE FROM booking_audit_log",
        "TRUNCATE booking_audit_log",
    ],
)
def test_the_audit_is_append_only_even_for_its_owner(
    app: App, as_app: psycopg.Connection[Any], query: str
) -> None:
    """Nobody changes, deletes or empties it."""
    app.booked(app.slot())
    before = app.count("booking_audit_log")
    with pytest.raises(errors.InsufficientPrivilege):
        app.rows(query)
    with pytest.raises(errors.InsufficientPrivilege):
        as_app.execute(query.encode())
    assert app.count("booking_audit_log") == before > 0


# Roles.


@pytest.mark.parametrize(
    "query",
    [
        "CREATE TABLE mine (id int)",
        "DROP TABLE slots",
        "ALTER TABLE slots ADD COLUMN mine int",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "TRUNCATE bookings",
        "TRUNCATE ticket_reservations CASCADE",
        "DELETE FROM bookings",
        "DELETE FROM payment_intents_log",
        "DELETE FROM ticket_reservations",
        "DELETE FROM refunds",
        "DELETE FROM webhook_events_log",
        "UPDATE schema_migrations SET sha256 = ''",
        "ALTER TABLE bookings DISABLE TRIGGER ALL",
        "SET session_replication_role = replica",
        "CREATE ROLE mine",
        "SELECT * FROM pg_authid",
        "COPY slots TO PROGRAM 'cat'",
    ],
)
def test_the_functions_may_not(as_app: psycopg.Connection[Any], query: str) -> None:
    """`app` has rows: no DDL, no TRUNCATE, and nothing of what is kept is deleted."""
    with pytest.raises((errors.InsufficientPrivilege, errors.WrongObjectType)):
        as_app.execute(query.encode())


def test_log_error_reaches_the_error_tables_and_nothing_else(
    app: App, as_error_writer: psycopg.Connection[Any]
) -> None:
    """`error_writer`, whom anybody may call, sees no customer, no sale and no secret."""
    tables = [name for (name,) in app.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    reached: set[str] = set()
    for table in tables:
        try:
            as_error_writer.execute(f"SELECT 1 FROM {table} LIMIT 1".encode())
            reached.add(table)
        except errors.InsufficientPrivilege:
            pass
    assert reached == {"error_groups", "error_logs"}
    for table in reached:
        for query in (f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE", f"DROP TABLE {table}"):
            with pytest.raises(errors.InsufficientPrivilege):
                as_error_writer.execute(query.encode())
    with pytest.raises(errors.InsufficientPrivilege):
        as_error_writer.execute("SELECT cleanup_expired_reservations()")


@pytest.mark.parametrize("role", ["app_url", "error_writer_url"])
def test_nobody_waits_for_ever(app: App, role: str) -> None:
    """A wait for a lock ends first, then the statement, then a forgotten transaction."""
    with psycopg.connect(getattr(app, role), autocommit=True) as conn:
        names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
        values = [conn.execute(f"SELECT current_setting('{name}')".encode()).fetchone() for name in names]
    assert values == [("2s",), ("5s",), ("10s",)]


# What operators read.


def test_the_columns_that_operators_read_are_there(app: App) -> None:
    """Fixed by name; ids are UUIDs, and no column of slots is generated."""
    columns = {
        "slots": "id, starts_at, ends_at, max_bookings, max_units, held_bookings, held_units, sold_bookings, sold_units, is_legacy",
        "ticket_reservations": "id, status, expires_at",
        "payment_intents_log": "id, reservation_id, idempotency_key, payment_intent_id, status, amount, currency",
        "webhook_events_log": "event_id, event_type, status, attempts, deliveries, last_error, received_at, processed_at",
        "bookings": "id, reservation_id, status, payment_method, payment_status, version",
        "refunds": "id, payment_id, amount, status, stripe_refund_id",
        "error_logs": "severity, function_name, error_message, stack_trace, context, timestamp, resolved",
        "error_groups": "fingerprint, occurrence_count, first_seen, last_seen, status",
        "booking_audit_log": "booking_id, action_type, old_values, new_values, performed_by, performed_by_id, ip_address, user_agent, reason, created_at",
        "outbox": "kind, status, attempts",
    }
    for table, names in columns.items():
        app.rows(f"SELECT {names} FROM {table}")
    for table in ("slots", "ticket_reservations", "payment_intents_log", "bookings", "refunds"):
        assert (
            app.value(
                f"SELECT data_type FROM information_schema.columns WHERE table_name = '{table}' AND column_name = 'id'"
            )
            == "uuid"
        )
    assert (
        app.value(
            "SELECT count(*) FROM information_schema.columns WHERE table_name = 'slots' AND is_generated <> 'NEVER'"
        )
        == 0
    )


def test_reservation_stats_count_each_status(app: App) -> None:
    """Active, expired, completed and cancelled, and since when the oldest active one is there."""
    assert app.row("SELECT * FROM get_reservation_stats()") == (0, 0, 0, 0, None)
    slot = app.slot(units=20)
    app.cancel(app.hold(slot))
    app.booked(slot)
    for _ in range(3):
        app.expire(app.hold(slot))
        app.invoke("reservation-cleanup")
    app.hold(slot)
    app.hold(slot)
    oldest = app.value("SELECT min(created_at) FROM ticket_reservations WHERE status = 'active'")
    row = app.row(
        "SELECT active, expired, completed, cancelled, oldest_active_at FROM get_reservation_stats()"
    )
    assert row == (2, 3, 1, 1, oldest)


def test_the_facts_of_a_dispute_only_grow(app: App) -> None:
    """What was taken and what came back never becomes less, and a dispute stays its payment's."""
    app.booked(app.slot())
    app.rows(DISPUTE.format("open"))
    app.rows("UPDATE disputes SET withdrawn_amount = 4500, reinstated_amount = 1")
    for change in ("withdrawn_amount = 4499", "reinstated_amount = 0", "stripe_dispute_id = 'du_2'"):
        refused(app, "disputes_facts_only_grow", f"UPDATE disputes SET {change}")
    refused(app, "disputes_standing_is_known", "UPDATE disputes SET standing = 'lost in time'")


# The view that says whether every promise holds.

DISPUTE = """
    INSERT INTO disputes (id, stripe_dispute_id, payment_id, status, status_at, standing, amount, currency)
    SELECT gen_random_uuid(), 'du_1', payment_id, 'a word', now(), '{}', 4500, 'eur' FROM bookings
"""
VIOLATIONS = [
    ("slot sells what it has", "UPDATE slots SET held_units = 99, held_bookings = 1"),
    ("slot sells what it has", "UPDATE slots SET sold_bookings = 99"),
    ("slot counts its holds", "UPDATE slots SET held_units = held_units + 1"),
    ("slot counts its holds", "UPDATE slots SET held_bookings = held_bookings + 1"),
    ("slot counts its holds", "UPDATE ticket_reservations SET status = 'cancelled' WHERE status = 'active'"),
    ("slot counts its bookings", "UPDATE slots SET sold_units = sold_units - 1"),
    ("slot counts its bookings", "UPDATE bookings SET status = 'cancelled'"),
    ("slot counts its bookings", "UPDATE booking_items SET units = 2"),
    (
        "money ends in a booking, a refund or a dispute",
        "UPDATE payment_intents_log SET captured_amount = 4500 WHERE captured_amount = 0",
    ),
    ("money ends in a booking, a refund or a dispute", "DELETE FROM booking_items; DELETE FROM bookings"),
    ("money ends in a booking, a refund or a dispute", "UPDATE bookings SET status = 'revoked'"),
    (
        "a refund that waits is asked for, unless a dispute has the money",
        "INSERT INTO refunds (payment_id, amount, reason) SELECT payment_id, 1, 'r' FROM bookings",
    ),
    (
        "a refund that waits is asked for, unless a dispute has the money",
        "SELECT request_refund(payment_id, 1, 'r') FROM bookings;" + DISPUTE.format("open"),
    ),
    (
        "a booking is frozen while a dispute is open, and a lost one revokes it",
        "UPDATE bookings SET status = 'frozen'",
    ),
    ("a booking is frozen while a dispute is open, and a lost one revokes it", DISPUTE.format("open")),
    (
        "a booking is frozen while a dispute is open, and a lost one revokes it",
        DISPUTE.format("lost") + "; UPDATE bookings SET status = 'frozen'",
    ),
    (
        "a paid booking says what became of its money",
        "UPDATE bookings SET payment_status = 'partially_refunded'",
    ),
    (
        "a paid booking says what became of its money",
        DISPUTE.format("won") + "; UPDATE bookings SET payment_status = 'disputed'",
    ),
    (
        "a cancelled booking gives its share back",
        "UPDATE bookings SET cancelled_at = now(), refundable_percent = 3",
    ),
    (
        "a cancelled booking gives its share back",
        """
        UPDATE bookings SET cancelled_at = now(), payment_id = NULL, payment_method = 'credits', user_id = 'ada', credits = 3
        """,
    ),
    (
        "refunds never exceed what was paid",
        "INSERT INTO refunds (payment_id, amount, reason) SELECT id, 9999, 'r' FROM payment_intents_log",
    ),
    ("a paid booking has its payment", "UPDATE payment_intents_log SET captured_amount = 0"),
    ("a completed reservation has a booking", "UPDATE ticket_reservations SET status = 'completed'"),
    (
        "a completed reservation has a booking",
        "UPDATE ticket_reservations SET status = 'active' WHERE status = 'completed'",
    ),
    (
        "seats go only after their payment is closed",
        "UPDATE ticket_reservations SET status = 'expired' WHERE status = 'active'",
    ),
]

# Tried in test_credits.py.
OF_CREDITS = {
    "a balance is the sum of its entries",
    "what remains of a grant is the sum of its entries",
    "a booking has spent its credits, and says what became of them",
}


@pytest.mark.parametrize(("invariant", "violation"), VIOLATIONS, ids=range(len(VIOLATIONS)))
def test_a_broken_promise_is_seen(app: App, invariant: str, violation: str) -> None:
    """With every guard off each promise is broken, and the view names it."""
    slot = app.slot()
    app.booked(slot)
    app.payment(app.hold(slot))
    assert app.violations() == []
    for table in (
        "slots",
        "ticket_reservations",
        "payment_intents_log",
        "bookings",
        "booking_items",
        "refunds",
        "disputes",
    ):
        app.rows(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    app.rows("ALTER TABLE slots DROP CONSTRAINT slots_never_oversold")
    app.rows("ALTER TABLE booking_items DROP CONSTRAINT booking_items_booking_id_fkey")

    app.rows(violation)

    broken = app.rows("SELECT invariant, subject_id, detail FROM invariant_violations")
    assert invariant in {row[0] for row in broken}
    assert all(subject and detail for _, subject, detail in broken)


def test_every_promise_of_the_view_is_tried(app: App) -> None:
    """No branch of the view is left without its violation."""
    definition = app.value("SELECT pg_get_viewdef('invariant_violations'::regclass)")
    tried = {row[0] for row in VIOLATIONS} | OF_CREDITS
    for invariant in tried:
        assert f"'{invariant}'" in definition
    assert definition.count("UNION ALL") + 1 == len(tried)
