"""Bad input everywhere: whatever is sent, nothing is a failure of ours, nothing changes, nothing comes back."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.app import App, Hold
from tests.support.lambda_events import Answer
from tests.support.sign_in import SECRET, token
from tests.support.stripe_events import encoded, event_of, intent

# One database for all the examples of a test: each must leave it as it was.
MANY = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FEW = settings(MANY, max_examples=50)
# Stands in every text that is sent, and must not come back. No plain name of a field: those are named where unknown.
MARK = "zq9.xw7"

TEXT = st.text(max_size=20).map(lambda text: MARK + text) | st.sampled_from(
    [
        "",
        "\x00",
        MARK + "\ud800",
        "\u202e" + MARK,
        "🎟" * 5,
        "NaN",
        "'; DROP TABLE slots; --",
        "x" * 300,
        str(uuid4()),
    ]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 2**31, 2**63, 10**40, -(10**40), 1e308, 0.1])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def mutations(document: Any) -> st.SearchStrategy[Any]:
    """The document with one thing wrong: a value replaced, a field left out, one too many."""
    if isinstance(document, dict):
        inside = [
            mutations(value).map(lambda changed, name=name: document | {name: changed})
            for name, value in document.items()
        ]
        missing = [st.just({k: v for k, v in document.items() if k != name}) for name in document]
        more = st.tuples(TEXT, JSON).map(lambda extra: document | {extra[0]: extra[1]})
        return st.one_of(*inside, *missing, more, JSON)
    if isinstance(document, list) and document:
        head: Any = document[0]
        return mutations(head).map(lambda changed: [changed, *document[1:]]) | st.just(document * 2) | JSON
    return JSON


def written(document: Any) -> bytes:
    """JSON as bytes, with what Python alone would write (NaN, lone surrogates)."""
    return json.dumps(document).encode()


@contextmanager
def nothing_changes(app: App, *but: str) -> Generator[None]:
    """No row of any table is another afterwards."""
    before = app.dump()
    yield
    after = app.dump()
    assert [table for table in before if before[table] != after[table] and table not in but] == []


def refused(answer: Answer, *statuses: int) -> None:
    """A refusal of the caller's fault that repeats nothing of what was sent."""
    assert answer.status in (400, 404, 409, 413, 415, 422, *statuses), answer
    if answer.status >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.body["instance"] == answer.headers["X-Request-Id"]
        assert MARK not in answer.text


@pytest.fixture
def hold(app: App) -> Hold:
    return app.hold(app.slot())


@pytest.mark.parametrize(
    ("function", "path"),
    [
        ("reservations", "/reservations"),
        ("create-payment-intent", "/"),
        ("bookings", "/bookings"),
        ("log-error", "/"),
    ],
)
def test_any_json_is_refused_without_effect(app: App, hold: Hold, function: str, path: str) -> None:
    """JSON that has nothing to do with what is expected."""
    before = app.dump()

    @MANY
    @given(JSON)
    def check(document: Any) -> None:
        refused(app.call(function, "POST", path, written(document), hold.headers))

    check()
    assert app.dump() == before


@pytest.mark.parametrize(
    ("function", "path"),
    [
        ("reservations", "/reservations"),
        ("create-payment-intent", "/"),
        ("bookings", "/bookings"),
        ("log-error", "/"),
    ],
)
def test_any_bytes_are_refused_without_effect(app: App, hold: Hold, function: str, path: str) -> None:
    """Bytes that are no JSON at all."""
    before = app.dump()

    @MANY
    @given(st.binary(max_size=200))
    def check(body: bytes) -> None:
        refused(app.call(function, "POST", path, body, hold.headers))

    check()
    assert app.dump() == before


def test_a_hold_with_one_thing_wrong_is_held_or_refused(app: App) -> None:
    """Near-valid bodies of a hold: 201, or a refusal without effect."""
    slug = app.offering()
    body = app.hold_request(app.slot(slug, units=1_000_000), phone="+43 1 1")
    body["items"][0]["add_ons"] = [{"id": app.add_on(slug), "quantity": 1}]

    @MANY
    @given(mutations(body))
    def check(document: Any) -> None:
        before = app.dump()
        answer = app.call("reservations", "POST", "/reservations", written(document))
        if answer.status in (201, 429):
            app.rows("UPDATE ticket_reservations SET expires_at = now() WHERE status = 'active'")
            return
        refused(answer)
        assert app.dump() == before

    check()
    assert app.violations() == []


def test_a_payment_with_one_thing_wrong_is_made_or_refused(app: App, hold: Hold) -> None:
    """Near-valid bodies of a payment: the one live payment, or a refusal without effect."""
    body = {
        "reservation_id": hold.id,
        "mode": "payment_intent",
        "expected_amount": hold.amount,
        "expected_currency": "eur",
    }
    app.pay(hold)

    @MANY
    @given(mutations(body))
    def check(document: Any) -> None:
        before = app.dump()
        answer = app.call("create-payment-intent", "POST", "/", written(document), hold.headers)
        if answer.status == 200:
            return
        refused(answer)
        assert app.dump() == before

    check()
    assert len(app.intents(hold)) == app.count("payment_intents_log") == 1


def test_a_booking_with_one_thing_wrong_is_made_or_refused(app: App) -> None:
    """Near-valid bodies of a booking: the one booking, or a refusal without effect."""
    hold = app.hold(app.slot(pay_on_arrival=True))
    app.book(hold)

    @MANY
    @given(mutations({"reservation_id": hold.id, "payment_method": "pay_on_arrival"}))
    def check(document: Any) -> None:
        answer = app.call("bookings", "POST", "/bookings", written(document), hold.headers)
        if answer.status != 200:
            refused(answer)

    with nothing_changes(app):
        check()


def test_a_report_with_one_thing_wrong_is_counted_or_refused(app: App) -> None:
    """Near-valid reports: 202, or a refusal without effect; only the error tables, and what an address may open, ever change."""
    body = {
        "message": "m",
        "stack": "s",
        "severity": "error",
        "function_name": "f",
        "source": "backend",
        "release": "1",
        "url": "https://shop.example/",
        "context": {"a": {"b": [1, "x"]}},
        "fingerprint": ["a"],
    }
    app.set(DATABASE_URL=app.error_writer_url)

    @MANY
    @given(mutations(body))
    def check(document: Any) -> None:
        answer = app.call("log-error", "POST", "/", written(document))
        if answer.status != 202:
            refused(answer)

    with nothing_changes(app, "error_groups", "error_logs", "rate_limits"):
        check()
    assert app.value("SELECT sum(occurrence_count) FROM error_groups") > 0


def test_any_unsigned_bytes_are_refused_without_effect(app: App) -> None:
    """A webhook that Stripe has not signed, with any header; that one address sends too many is another matter."""
    app.set(RATE_LIMITS="off")

    @MANY
    @given(st.binary(max_size=300), st.text(max_size=80))
    def check(payload: bytes, header: str) -> None:
        answer = app.call("stripe-webhook", "POST", "/", payload, {"stripe-signature": header})
        assert (answer.status, answer.problem) == (400, "invalid-signature")

    with nothing_changes(app):
        check()


def test_any_signed_bytes_are_refused_without_effect(app: App) -> None:
    """Signed, but no event: bytes and JSON of every kind."""

    @MANY
    @given(st.binary(max_size=300) | JSON.map(written))
    def check(payload: bytes) -> None:
        answer = app.deliver(payload)
        assert (answer.status, answer.problem) == (400, "malformed-event")

    with nothing_changes(app):
        check()


def test_a_signed_event_with_one_thing_wrong_books_nothing_that_was_not_paid(app: App, hold: Hold) -> None:
    """Near-valid events: never a failure of ours, and a booking only for the full amount in the right currency."""
    payment = app.payment(hold)
    assert payment.intent_id is not None
    event = event_of(
        "payment_intent.payment_failed",
        intent(
            payment.intent_id, 4500, "requires_payment_method", metadata={"holdfast_payment_id": payment.id}
        ),
    )

    @MANY
    @given(mutations(event))
    def check(document: Any) -> None:
        if isinstance(document, dict) and document.get("id") == event["id"]:
            document = document | {"id": f"evt_{uuid4()}"}
        answer = app.deliver(encoded(document))
        if answer.status == 500:
            # Only where Stripe itself has to be asked about an event of another version.
            assert document["api_version"] != event["api_version"]
        assert answer.status in (200, 400), answer
        if answer.status == 400:
            assert answer.problem == "malformed-event"

    with nothing_changes(app, "webhook_events_log", "payment_intents_log", "booking_audit_log"):
        check()
    assert app.value("SELECT sum(captured_amount) FROM payment_intents_log") == 0
    assert app.violations() == []


@pytest.mark.parametrize(
    "header", ["idempotency-key", "x-idempotency-key", "x-reservation-token", "content-type", "user-agent"]
)
def test_any_header_is_taken_or_refused(app: App, hold: Hold, header: str) -> None:
    """Whatever stands in a header that is read."""

    @MANY
    @given(st.text(max_size=300))
    def check(value: str) -> None:
        headers = hold.headers | {header: value}
        answer = app.call("reservations", "GET", f"/reservations/{hold.id}", headers=headers)
        assert answer.status in (200, 404)
        answer = app.call("create-payment-intent", "POST", "/", {"reservation_id": str(uuid4())}, headers)
        refused(answer)

    with nothing_changes(app):
        check()


def test_any_path_and_query_is_taken_or_refused(app: App) -> None:
    """Ids that are none, cursors and times that cannot be."""
    slug = app.offering()
    app.slot(slug)

    @MANY
    @given(
        st.text(max_size=60),
        st.sampled_from(["from", "to", "cursor", "limit", "offering", "x"]),
        st.text(max_size=60),
    )
    def check(path: str, name: str, value: str) -> None:
        for method in ("GET", "DELETE"):
            refused(
                app.call(
                    "reservations", method, f"/reservations/{path}", headers={"x-reservation-token": "t"}
                ),
                405,
            )
        event_query = {"offering": slug, name: value}
        answer = app.call_with_query("reservations", "/slots", event_query)
        refused(answer, 200)

    with nothing_changes(app):
        check()


@pytest.mark.parametrize(
    "query",
    [
        {"from": "0001-01-01T00:00:00+23:59"},
        {"to": "9999-12-31T23:59:59-23:59"},
        {"from": "infinity"},
        {"from": "1e400"},
        {"cursor": "MDAwMS0wMS0wMVQwMDowMDowMCsyMzo1OSAwMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAwMDAwMDAwMDA="},
        {"cursor": "OTk5OS0xMi0zMVQyMzo1OTo1OS0yMzo1OSAwMDAwMDAwMC0wMDAwLTAwMDAtMDAwMC0wMDAwMDAwMDAwMDA="},
    ],
    ids=range(6),
)
def test_times_at_the_end_of_time_are_no_failure_of_ours(app: App, query: dict[str, str]) -> None:
    """The first and the last moment that can be written."""
    slug = app.offering()
    refused(app.call_with_query("reservations", "/slots", {"offering": slug} | query), 200)


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("cancel", {"reason": "ill"}),
        ("reschedule", {"slot_id": str(uuid4()), "item_id": str(uuid4())}),
        ("refunds", {"amount": 4501, "reason": "a bad view"}),
    ],
)
def test_a_change_of_a_booking_with_one_thing_wrong_is_refused(
    app: App, what: str, body: dict[str, Any]
) -> None:
    """Near-valid bodies, at a version that there is not, and of money that has gone back already."""
    app.set(JWT_SECRET=SECRET)
    app.booked(app.slot())
    app.rows("SELECT request_refund(payment_id, amount, 'all of it') FROM bookings")
    path = f"/bookings/{app.value('SELECT id FROM bookings')}/{what}"
    headers = {"authorization": f"Bearer {token(role='admin')}", "if-match": "7"}
    before = app.dump()

    @FEW
    @given(mutations(body) | st.just(body))
    def check(document: Any) -> None:
        refused(app.call("bookings", "POST", path, written(document), headers), 412)

    check()
    assert app.dump() == before


OFFERING = {
    "name": "Yoga",
    "kind": "class",
    "unit_amount": 1500,
    "currency": "eur",
    "credits_price": 1,
    "timezone": "Europe/Vienna",
    "pay_on_arrival": True,
    "add_ons": [{"name": "Mat", "unit_amount": 300}],
}


@pytest.mark.parametrize(
    ("method", "path", "body", "also"),
    [
        ("PUT", "/offerings/nope", OFFERING, 412),
        ("PUT", f"/slots/{uuid4()}", {"max_bookings": 5, "max_units": 5}, 404),
        ("POST", "/customers/ada/credits", {"delta": -5, "reason": "a mistake"}, 409),
        ("POST", "/webhook-events/replay", {"status": "dead", "since": "2026-01-01T00:00:00Z"}, 200),
    ],
    ids=["offering", "slot", "credits", "replay"],
)
def test_what_an_administrator_says_with_one_thing_wrong_is_refused(
    app: App, method: str, path: str, body: dict[str, Any], also: int
) -> None:
    """Near-valid bodies, about what there is not: nothing is created, granted or done again."""
    app.set(JWT_SECRET=SECRET)
    headers = {
        "authorization": f"Bearer {token(role='admin')}",
        "if-match": "7",
        "idempotency-key": "a-key-of-sixteen-and-more",
    }
    before = app.dump()

    @FEW
    @given(mutations(body))
    def check(document: Any) -> None:
        granted = (
            isinstance(document, dict) and isinstance(document.get("delta"), int) and document["delta"] > 0
        )
        if not granted:
            refused(app.call("admin", method, path, written(document), headers), also)

    check()
    assert app.dump() == before


def test_a_schedule_with_one_thing_wrong_is_refused(app: App) -> None:
    """Near-valid bodies, for an offering that there is not."""
    app.set(JWT_SECRET=SECRET)
    rule = {"weekday": 0, "start": "09:00", "minutes": 60, "max_bookings": 1, "max_units": 1}
    body = {
        "timezone": "Europe/Vienna",
        "rules": [rule],
        "from": "2027-01-01",
        "until": "2027-12-31",
        "blackout_dates": ["2027-01-01"],
        "resource_id": str(uuid4()),
    }
    headers = {"authorization": f"Bearer {token(role='admin')}"}
    before = app.dump()

    @FEW
    @given(mutations(body) | mutations(rule).map(lambda wrong: body | {"rules": [wrong]}))
    def check(document: Any) -> None:
        refused(app.call("admin", "PUT", "/offerings/nope/schedule", written(document), headers))

    check()
    assert app.dump() == before
