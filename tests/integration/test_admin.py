"""`admin`: figures and events, to administrators and to nobody else."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import uuid4

import pytest

from database import operations
from functions.admin.handler import app as admin
from functions.admin.requests import EventStatus
from functions.admin.service import EVENT_STATUSES, OUTBOX_KINDS, OUTBOX_STATUSES
from runtime.cursors import cursor_of
from tests.support.app import App
from tests.support.lambda_events import Answer, Context
from tests.support.sign_in import configure, key_server, provider_key, request, token

READS = ["/stats", "/webhook-events", "/outbox", "/errors", "/customers/user-1/credits"]
ROUTES = {
    *(("GET", path) for path in READS[:-1]),
    *((method, "/customers/[^/]+/credits") for method in ("GET", "POST")),
    *((method, "/offerings/[^/]+") for method in ("GET", "PUT", "DELETE")),
    ("PUT", "/offerings/[^/]+/schedule"),
    ("PUT", "/slots/[^/]+"),
    ("GET", "/bookings/[^/]+/audit"),
    ("GET", "/trace/[^/]+"),
    ("POST", "/webhook-events/replay"),
    ("POST", "/errors/[^/]+/[^/]+"),
    ("POST", "/webhook-events/[^/]+/replay"),
}
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NO_UUID = cursor_of("2026-11-21T12:00:00Z", "1")
type Call = Callable[..., Answer]


@pytest.fixture
def ask(app: App, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls `admin`, signed in as the parts say."""
    configure(monkeypatch)

    def call(path: str, *, method: str = "GET", **parts: Any) -> Answer:
        answered = app.handler("admin")(request(method, path, **parts), Context())
        return Answer(answered["statusCode"], answered["body"], answered["headers"])

    return call


@pytest.fixture
def events(app: App, ask: Call) -> Callable[..., Any]:
    """Lists events as an administrator."""

    def listed(query: str = "") -> Any:
        answer = ask("/webhook-events", query=query, bearer=token(role="admin"))
        assert answer.status == 200, answer
        return answer.body

    return listed


def keep(app: App, event_id: str, status: str = "processed", *, minutes: float = 0) -> None:
    """A row as `stripe-webhook` leaves it, `minutes` after noon."""
    app.rows(
        """
        INSERT INTO webhook_events_log (event_id, event_type, status, payload, received_at, attempts, last_error)
        VALUES (%s, 'payment_intent.succeeded', %s, '{"receipt_email": "ada@example.com"}', %s, 1, 'why')
        """,
        event_id,
        status,
        NOON + timedelta(minutes=minutes),
    )


def pages(listed: Callable[..., Any], query: str) -> Iterator[list[str]]:
    """The ids of every page, from the newest on."""
    cursor = ""
    while True:
        body = listed(f"{query}&cursor={cursor}" if cursor else query)
        yield [event["id"] for event in body["events"]]
        if "next" not in body:
            return
        cursor = body["next"]


# Who is let in.


def test_these_are_all_routes() -> None:
    """A new route has to be added to the tests below."""
    assert {(method, pattern.pattern) for method, pattern in admin._methods} == ROUTES | {("GET", "/console")}


@pytest.mark.parametrize("path", READS)
def test_administrators_are_let_in_by_token_and_by_cookie(ask: Call, path: str) -> None:
    assert ask(path, bearer=token(role="admin")).status == 200
    assert ask(path, cookie=token(role="admin", csrf="abc")).status == 200


@pytest.mark.parametrize(("method", "path"), sorted(ROUTES))
@pytest.mark.parametrize("parts", [{}, {"bearer": "nonsense"}, {"cookie": "nonsense"}], ids=str)
def test_who_is_not_signed_in_gets_401(ask: Call, method: str, path: str, parts: dict[str, str]) -> None:
    answer = ask(path.replace("[^/]+", "evt_1"), method=method, **parts)
    assert (answer.status, answer.problem) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), sorted(ROUTES))
def test_customers_get_403(ask: Call, method: str, path: str) -> None:
    for parts in ({"bearer": token()}, {"cookie": token(csrf="abc"), "csrf": "abc"}):
        answer = ask(path.replace("[^/]+", "evt_1"), method=method, **parts)
        assert (answer.status, answer.problem) == (403, "forbidden")
        assert "WWW-Authenticate" not in answer.headers


def test_who_is_not_let_in_learns_nothing_of_what_is_there(app: App, ask: Call) -> None:
    """Neither from the answer nor from what is checked first: a wrong query is an administrator's to hear of."""

    def seen(**parts: str) -> list[tuple[int, str]]:
        asked = [
            ask("/webhook-events", query=query, **parts) for query in ("", "status=parked", "status=x&y=z")
        ]
        return [(answer.status, answer.problem) for answer in asked]

    before = seen(), seen(bearer=token())
    keep(app, "evt_1", "parked")
    assert (seen(), seen(bearer=token())) == before
    assert before == ([(401, "unauthenticated")] * 3, [(403, "forbidden")] * 3)


@pytest.mark.parametrize("role", [None, "customer", "admin"])
def test_what_is_not_there_is_404_to_everybody(ask: Call, role: str | None) -> None:
    parts = {"bearer": token(role=role)} if role else {}
    for path in ("/", "/nothing", "/webhook-events/evt_1"):
        assert ask(path, **parts).problem == "not-found"
    assert ask("/stats", method="POST", **parts).problem == "method-not-allowed"


def test_a_providers_administrator_is_let_in(ask: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    key = provider_key("ec-1", "ES256")
    with key_server(key) as provider:
        configure(monkeypatch, JWT_SECRET=None, JWT_JWKS_URL=provider.url)
        assert ask("/stats", bearer=key.token(role="admin")).status == 200
        assert ask("/stats", bearer=key.token()).status == 403


def test_without_the_database_the_answer_is_503(ask: Call, app: App) -> None:
    app.set(DATABASE_URL="postgresql://app@127.0.0.1:9/nowhere")
    answer = ask("/stats", bearer=token(role="admin"))
    assert (answer.status, answer.problem) == (503, "database-unavailable")
    assert ask("/stats", bearer=token()).status == 403


# Figures.


def test_an_empty_shop_has_figures_too(ask: Call) -> None:
    body = ask("/stats", bearer=token(role="admin")).body
    assert datetime.fromisoformat(body.pop("counted_at")) > NOON
    assert body == {
        "active": 0,
        "expired": 0,
        "completed": 0,
        "cancelled": 0,
        "oldest_active_at": None,
        "payments": {},
        "webhook_events": {},
        "outbox": {},
        "deliveries": {},
        "invariant_violations": 0,
    }


def test_the_figures_count_what_is_there(app: App, ask: Call) -> None:
    slot = app.slot(units=20)
    app.booked(slot)
    app.hold(slot)
    app.payment(app.hold(slot))
    app.cancel(app.hold(slot))
    keep(app, "evt_parked", "parked")

    body = ask("/stats", bearer=token(role="admin")).body

    counts = [body.pop(name) for name in ("active", "expired", "completed", "cancelled")]
    assert counts == [2, 0, 1, 1]
    oldest = app.value("SELECT min(created_at) FROM ticket_reservations WHERE status = 'active'")
    assert datetime.fromisoformat(body.pop("oldest_active_at")) == oldest
    assert body.pop("counted_at")
    assert body == {
        "payments": {"succeeded": 1, "requires_payment_method": 1},
        "webhook_events": {"processed": 1, "parked": 1},
        "outbox": {"pending": 1},
        "deliveries": {"notification": {"delivered": 0, "dead": 0, "attempts": 0, "success_rate": None}},
        "invariant_violations": 0,
    }


def test_a_broken_promise_shows(app: App, ask: Call) -> None:
    slot = app.slot(units=20)
    app.hold(slot)
    app.rows("UPDATE slots SET held_units = held_units + 1 WHERE id = %s", slot)
    assert ask("/stats", bearer=token(role="admin")).body["invariant_violations"] == 1


def test_figures_do_not_wait_for_a_comparison_that_takes_too_long(app: App, ask: Call) -> None:
    app.rows(
        "CREATE OR REPLACE VIEW invariant_violations AS"
        " SELECT 'slow' AS invariant, pg_sleep(60)::text AS subject_id, '' AS detail"
    )
    app.rows(
        "ALTER ROLE app IN DATABASE "
        + app.value("SELECT current_database()")
        + " SET statement_timeout = '4s'"
    )
    body = ask("/stats", bearer=token(role="admin")).body
    assert body["invariant_violations"] is None
    assert body["active"] == 0


# Events.


def test_an_event_is_told_without_the_people_in_it(app: App, ask: Call) -> None:
    payment = app.booked(app.slot())
    answer = ask("/webhook-events", bearer=token(role="admin"))
    (event,) = answer.body["events"]
    row = app.row("SELECT event_id, received_at, processed_at FROM webhook_events_log")
    assert (
        event.pop("id"),
        *map(datetime.fromisoformat, (event.pop("received_at"), event.pop("processed_at"))),
    ) == row
    assert event == {
        "type": "payment_intent.succeeded",
        "status": "processed",
        "attempts": 1,
        "deliveries": 1,
        "reason": None,
        "last_error": None,
        "next_attempt_at": None,
        "payment_id": payment.id,
    }
    assert payment.hold.email not in answer.text


def test_events_come_newest_first_and_end_without_next(app: App, events: Callable[..., Any]) -> None:
    for number in range(5):
        keep(app, f"evt_{number}", minutes=number)
    body = events()
    assert [event["id"] for event in body["events"]] == ["evt_4", "evt_3", "evt_2", "evt_1", "evt_0"]
    assert "next" not in body


def test_a_status_is_listed_alone(app: App, events: Callable[..., Any]) -> None:
    for number, status in enumerate(EVENT_STATUSES):
        keep(app, f"evt_{status}", status, minutes=number)
        keep(app, f"evt_{status}_before", status, minutes=number - 100)
    for status in EVENT_STATUSES:
        assert [event["id"] for event in events(f"status={status}")["events"]] == [
            f"evt_{status}",
            f"evt_{status}_before",
        ]


def test_pages_tell_each_event_once_whatever_comes_in_meanwhile(app: App, events: Callable[..., Any]) -> None:
    """Several events of one moment included, and of several statuses."""
    for number in range(20):
        keep(app, f"evt_{number:02}", ["processed", "parked", "failed"][number % 3], minutes=number // 5)
    there = [f"evt_{number:02}" for number in reversed(range(20))]
    seen: list[str] = []
    for number, page in enumerate(pages(events, "limit=3")):
        assert 0 < len(page) <= 3
        seen += page
        keep(app, f"evt_new_{number}", "parked", minutes=60 + number)
    assert seen == there


def test_a_page_that_is_just_full_is_the_last(app: App, events: Callable[..., Any]) -> None:
    for number in range(4):
        keep(app, f"evt_{number}", minutes=number)
    assert [len(page) for page in pages(events, "limit=2")] == [2, 2]
    assert [len(page) for page in pages(events, "limit=2&status=processed")] == [2, 2]


@pytest.mark.parametrize(
    "query",
    [
        "status=done",
        "limit=0",
        "limit=201",
        "limit=many",
        "sort=id",
        "cursor=nonsense",
        "cursor=%FF",
        "cursor=MjAyNi0xMS0yMVQxMjowMDowMCBldnRfMQ==",  # a time without its zone
        "cursor=MjAyNi0xMS0yMVQxMjowMDowMFogZXZ0AA==",  # a zero byte, which PostgreSQL has no text for
    ],
)
def test_a_wrong_query_is_422(ask: Call, query: str) -> None:
    answer = ask("/webhook-events", query=query, bearer=token(role="admin"))
    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert answer.body["errors"][0]["pointer"] == f"/{query.partition('=')[0]}"


def test_the_statuses_are_those_that_the_table_knows(app: App) -> None:
    constraint = app.value(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'webhook_events_status_is_known'"
    )
    assert {part for part in constraint.split("'") if part.isalpha()} == set(get_args(EventStatus.__value__))


class Explaining:
    """A connection that answers with the plan of a statement and what running it touched."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, query: str, params: Any) -> Any:
        return self._connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}".encode(), params)


def scans(plan: Any) -> Iterator[dict[str, Any]]:
    """The nodes of a plan that read a table."""
    if "Relation Name" in plan:
        yield plan
    for child in plan.get("Plans", []):
        yield from scans(child)


@pytest.mark.parametrize("statuses", [EVENT_STATUSES, ("ignored",), ("dead",)], ids=["all", "some", "none"])
@pytest.mark.parametrize("before", [None, (NOON, "evt_1")], ids=["first page", "later page"])
def test_a_page_touches_what_it_shows_and_not_the_table(
    app: App, statuses: tuple[str, ...], before: tuple[datetime, str] | None
) -> None:
    """Of 20,000 events: at most a page of each status."""
    app.rows(
        """
        INSERT INTO webhook_events_log (event_id, event_type, status, payload, received_at)
        SELECT 'evt_' || n, 'x', (ARRAY['processed', 'processed', 'ignored'])[1 + n %% 3], '{}',
               %s::timestamptz + (n - 10000) * interval '1 second' FROM generate_series(1, 20000) AS n
        """,
        NOON,
    )
    app.rows("ANALYZE webhook_events_log")
    connection: Any = Explaining(app._owner)
    plan: Any = operations.list_webhook_events(connection, statuses=statuses, before=before, limit=51)
    (scan,) = scans(plan[0]["Plan"])
    assert scan["Index Name"] == "webhook_events_by_status"
    assert scan["Actual Rows"] * scan["Actual Loops"] <= 51 * 2
    assert scan.get("Rows Removed by Filter", 0) == 0


# The outbox.


def effect(app: App, status: str = "delivered", *, kind: str = "notification", **columns: Any) -> str:
    """A row as `deliver-outbox` leaves it; its id."""
    values = {
        "kind": kind,
        "dedupe_key": f"{kind}:{uuid4()}",
        "payload": '{"type": "booked", "customer": {"email": "ada@example.com"}}',
        "status": status,
        "attempts": 1,
        **columns,
    }
    names, places = ", ".join(values), ", ".join(["%s"] * len(values))
    return str(app.value(f"INSERT INTO outbox ({names}) VALUES ({places}) RETURNING id", *values.values()))


def test_what_has_left_is_told_without_the_people_in_it(app: App, ask: Call) -> None:
    """How often it was tried, what went wrong last, when it was taken."""
    effect(app, attempts=3, last_error="the receiver answered 500", delivered_at=NOON, created_at=NOON)
    answer = ask("/outbox", bearer=token(role="admin"))
    (row,) = answer.body["outbox"]
    assert row.pop("id") == str(app.value("SELECT id FROM outbox"))
    assert datetime.fromisoformat(row.pop("created_at")) == NOON
    assert datetime.fromisoformat(row.pop("delivered_at")) == NOON
    assert row == {
        "kind": "notification",
        "type": "booked",
        "status": "delivered",
        "attempts": 3,
        "last_error": "the receiver answered 500",
        "refund_id": None,
        "request_id": None,
        "next_attempt_at": None,
    }
    assert "ada@example.com" not in answer.text


def test_what_waits_says_until_when(app: App, ask: Call) -> None:
    effect(app, "pending", next_attempt_at=NOON)
    (row,) = ask("/outbox", bearer=token(role="admin")).body["outbox"]
    assert datetime.fromisoformat(row["next_attempt_at"]) == NOON


def test_the_outbox_is_told_by_status_and_kind_in_pages(app: App, ask: Call) -> None:
    """Newest first, each row once, several of one moment included."""
    ids = [
        effect(app, status, kind=kind, created_at=NOON + timedelta(minutes=minute))
        for minute in range(3)
        for status in ("delivered", "dead")
        for kind in ("notification", "error_issue")
    ]

    def paged(query: str) -> list[str]:
        seen: list[str] = []
        cursor = ""
        while True:
            body = ask("/outbox", query=f"{query}limit=3{cursor}", bearer=token(role="admin")).body
            seen += [row["id"] for row in body["outbox"]]
            if "next" not in body:
                return seen
            cursor = f"&cursor={body['next']}"

    everything = paged("")
    assert sorted(everything) == sorted(ids)
    newest = "SELECT id::text FROM outbox WHERE true %s ORDER BY created_at DESC, id DESC"
    assert everything == [row[0] for row in app.rows(newest % "")]
    assert paged("status=dead&") == [row[0] for row in app.rows(newest % "AND status = 'dead'")]
    chosen = "AND status = 'dead' AND kind = 'error_issue'"
    assert paged("status=dead&kind=error_issue&") == [row[0] for row in app.rows(newest % chosen)]


@pytest.mark.parametrize("query", ["status=done", "kind=mail", "cursor=nonsense", f"cursor={NO_UUID}", "x=1"])
def test_a_wrong_query_of_the_outbox_is_422(ask: Call, query: str) -> None:
    answer = ask("/outbox", query=query, bearer=token(role="admin"))
    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert answer.body["errors"][0]["pointer"] == f"/{query.partition('=')[0]}"


def test_the_share_that_was_delivered_is_told_by_kind(app: App, ask: Call) -> None:
    for status in ("delivered", "delivered", "dead", "pending"):
        effect(app, status, attempts=2)
    effect(app, "pending", kind="error_issue", attempts=0)
    assert ask("/stats", bearer=token(role="admin")).body["deliveries"] == {
        "notification": {"delivered": 2, "dead": 1, "attempts": 8, "success_rate": 0.6667},
        "error_issue": {"delivered": 0, "dead": 0, "attempts": 0, "success_rate": None},
    }


def test_statuses_and_kinds_of_the_outbox_are_those_that_the_table_knows(app: App) -> None:
    for name, known in (("outbox_status_is_known", OUTBOX_STATUSES), ("outbox_kind_is_known", OUTBOX_KINDS)):
        constraint = app.value("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s", name)
        assert set(re.findall(r"'([a-z_]+)'", constraint)) == set(known)


def test_a_page_of_the_outbox_touches_what_it_shows_and_not_the_table(app: App) -> None:
    """Of 20,000 rows: at most a page of each kind and status."""
    app.rows(
        """
        INSERT INTO outbox (kind, dedupe_key, payload, status, created_at)
        SELECT 'notification', n, '{}', 'delivered', %s::timestamptz + n * interval '1 second'
        FROM generate_series(1, 20000) AS n
        """,
        NOON,
    )
    app.rows("ANALYZE outbox")
    connection: Any = Explaining(app._owner)
    plan: Any = operations.list_outbox(
        connection, kinds=OUTBOX_KINDS, statuses=OUTBOX_STATUSES, before=None, limit=51
    )
    (scan,) = scans(plan[0]["Plan"])
    assert scan["Index Name"] == "outbox_by_status"
    assert scan["Actual Rows"] * scan["Actual Loops"] <= 51 * 2
