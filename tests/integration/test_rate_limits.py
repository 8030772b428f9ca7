"""So many requests a minute from an address and by a caller: counted before the act, and whatever becomes of it."""

from collections.abc import Callable
from datetime import datetime

import psycopg
import pytest

from runtime.limits import READS_AN_ACT, request_limits
from runtime.settings import Settings
from tests.concurrency.guards import begin_window, execute, rewrite_function
from tests.support.app import App
from tests.support.lambda_events import SOURCE_IP, Answer
from tests.support.postgres import on_every_postgres
from tests.support.round_trips import proxied
from tests.support.sign_in import SECRET, token
from tests.support.stripe_events import event_of, intent

ELSEWHERE = {"x-front-secret": "vouched for", "x-viewer-address": "198.51.100.9"}
SQL_COUNT = "SELECT coalesce(sum(used), 0) FROM rate_limits WHERE bucket LIKE '%%:acts:address:%%'"


def hold(app: App, slot: str, *, email: str | None = None, **headers: str) -> Answer:
    return app.call("reservations", "POST", "/reservations", app.hold_request(slot, email=email), headers)


def bearer(**claims: object) -> dict[str, str]:
    return {"authorization": f"Bearer {token(**claims)}"}


@pytest.fixture(autouse=True)
def minute(app: App) -> datetime:
    return begin_window(app.owner_url, "count_request")


def use_up(app: App, minute: datetime, function: str, method: str) -> None:
    """Leaves the address nothing of its minute."""
    (bucket,) = request_limits(
        Settings(), function=f"tests-{function}", method=method, address=SOURCE_IP, identity=None
    )
    app.rows(
        """
        INSERT INTO rate_limits (bucket, window_start, ends_at, used) VALUES (%s, %s, 'infinity', 9999)
        ON CONFLICT (bucket, shard, window_start) DO UPDATE SET used = 9999
        """,
        bucket,
        minute,
    )


@on_every_postgres
def test_an_address_has_so_many_acts_a_minute(app: App) -> None:
    """Above them 429 until the minute's end, and the act is not done; others are still served."""
    app.set(RATE_LIMIT_ADDRESS="3", FRONT_SECRET="vouched for")
    slot = app.slot()
    answers = [hold(app, slot) for _ in range(5)]
    assert [answer.status for answer in answers] == [201, 201, 201, 429, 429]
    assert answers[-1].problem == "too-many-requests"
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert app.counts(slot)[0] == 3
    assert hold(app, slot, **ELSEWHERE).status == 201


@on_every_postgres
def test_a_caller_has_fewer_whatever_the_address(app: App) -> None:
    """An e-mail address is one caller in any case; another's is another."""
    app.set(RATE_LIMIT_IDENTITY="2", FRONT_SECRET="vouched for")
    slot = app.slot()
    for email, headers, status in (
        ("ada@example.com", {}, 201),
        ("ADA@example.com", ELSEWHERE, 201),
        ("Ada@Example.com", {}, 429),
        ("bob@example.com", {}, 201),
    ):
        assert hold(app, slot, email=email, **headers).status == status, email


def test_a_user_is_one_caller_by_whatever_token(app: App) -> None:
    app.set(RATE_LIMIT_IDENTITY="1", JWT_SECRET=SECRET)
    for user, status in (("one", 201), ("one", 429), ("two", 201)):
        headers = bearer(sub=user, role="admin", exp=2_000_000_000)
        path, body = "/customers/ada/credits", {"delta": 1, "reason": "r"}
        assert app.call("admin", "POST", path, body, headers).status == status


def test_a_hold_is_the_caller_who_pays_for_it(app: App) -> None:
    """Whoever has worn out one hold's patience goes on with another."""
    app.set(RATE_LIMIT_IDENTITY="2")
    slot = app.slot()
    first, second = app.hold(slot), app.hold(slot)
    assert [app.pay(first).status for _ in range(3)] == [201, 200, 429]
    assert app.pay(second).status == 201


def test_no_header_of_a_caller_makes_another_address(app: App) -> None:
    """Whatever proxies write into them."""
    app.set(RATE_LIMIT_ADDRESS="1", FRONT_SECRET="vouched for")
    slot = app.slot()
    assert hold(app, slot).status == 201
    for name in (
        "x-forwarded-for",
        "x-real-ip",
        "forwarded",
        "x-viewer-address",
        "cf-connecting-ip",
        "true-client-ip",
    ):
        headers = {name: "198.51.100.9", "x-front-secret": "a guess"}
        assert hold(app, slot, **headers).status == 429, name


def test_a_minute_later_all_is_well(app: App) -> None:
    app.set(RATE_LIMIT_ADDRESS="1")
    slot = app.slot()
    assert [hold(app, slot).status for _ in range(2)] == [201, 429]
    app.rows("UPDATE rate_limits SET window_start = window_start - interval '1 minute'")
    app.forget()
    assert hold(app, slot).status == 201


def test_pages_look_more_often_than_they_act(app: App) -> None:
    app.set(RATE_LIMIT_ADDRESS="1")
    statuses = [app.call("reservations", "GET", "/offerings").status for _ in range(READS_AN_ACT + 1)]
    assert statuses == [200] * READS_AN_ACT + [429]
    assert hold(app, app.slot()).status == 201


# What becomes of the act.


def sold_out(app: App) -> Answer:
    return app.try_hold(app.slot(units=1), 2)


def locked_out(app: App) -> Answer:
    slot = app.slot()
    execute(
        app.owner_url,
        f"ALTER ROLE app IN DATABASE {app.value('SELECT current_database()')} SET lock_timeout = '50ms'",
    )
    app.forget()
    with psycopg.connect(app.owner_url) as other:
        other.execute("SELECT FROM slots FOR UPDATE")
        return app.try_hold(slot)


def failed(app: App) -> Answer:
    rewrite_function(app.owner_url, "reserve_tickets", ("BEGIN", "BEGIN PERFORM 1 / 0;"))
    return app.try_hold(app.slot())


FAILURES: list[tuple[Callable[[App], Answer], int, str]] = [
    (sold_out, 409, "sold-out"),
    (locked_out, 409, "lock-timeout"),
    (failed, 500, "internal-error"),
]


@on_every_postgres
@pytest.mark.parametrize(("act", "status", "problem"), FAILURES, ids=[each[2] for each in FAILURES])
def test_no_failure_of_the_act_undoes_its_count(
    app: App, act: Callable[[App], Answer], status: int, problem: str
) -> None:
    answer = act(app)
    assert (answer.status, answer.problem) == (status, problem)
    assert app.value(SQL_COUNT) == 1


@pytest.mark.parametrize("act", [locked_out, failed])
def test_control_without_its_own_commit_a_failure_undoes_the_count(
    app: App, act: Callable[[App], Answer]
) -> None:
    """Negative control: CALL and act are one transaction then."""
    rewrite_function(app.owner_url, "count_request", ("COMMIT;", ""))
    assert act(app).status >= 409
    assert app.value(SQL_COUNT) == 0


def test_a_flood_writes_nothing_and_a_warm_environment_asks_nobody(app: App) -> None:
    """One request more than the limit is counted, and none of those that follow; who has been told so remembers it."""
    app.set(RATE_LIMIT_ADDRESS="2")
    slot = app.slot()
    with proxied(app.app_url) as (proxy, url):
        for _ in range(4):
            app.set(DATABASE_URL=url)  # another environment
            for _ in range(3):
                hold(app, slot)
        assert app.value(SQL_COUNT) == 3
        app.set(DATABASE_URL=url)
        assert hold(app, slot).status == 429
        proxy.count()
        assert hold(app, slot).status == 429
        assert proxy.count() == 0
        app.forget()


# Who is limited.


ID = "00000000-0000-4000-8000-000000000000"
LIMITED: list[tuple[str, str, str, dict[str, str] | None]] = [
    ("reservations", "GET", "/offerings", None),
    ("reservations", "GET", "/reservations/HOLD", None),
    ("reservations", "DELETE", "/reservations/HOLD", None),
    ("create-payment-intent", "POST", "/", {"reservation_id": "HOLD"}),
    ("bookings", "POST", "/bookings", {"reservation_id": "HOLD", "payment_method": "free"}),
    ("bookings", "GET", "/bookings", None),
    ("bookings", "GET", f"/bookings/{ID}", None),
    ("bookings", "POST", f"/bookings/{ID}/cancel", {"reason": "r"}),
    ("bookings", "POST", f"/bookings/{ID}/reschedule", {"slot_id": ID}),
    ("bookings", "POST", f"/bookings/{ID}/refunds", {"reason": "r"}),
    ("admin", "GET", "/stats", None),
    ("admin", "GET", "/webhook-events", None),
    ("admin", "GET", "/errors", None),
    ("admin", "POST", "/errors/v1-0/resolve", None),
    ("admin", "POST", "/webhook-events/replay", {"status": "failed"}),
    ("admin", "DELETE", "/offerings/none", None),
]


def test_every_function_of_buyers_and_operators_is_limited(app: App, minute: datetime) -> None:
    """Where the address has had its minute, all of them say so."""
    app.set(JWT_SECRET=SECRET)
    given = app.hold(app.slot())
    headers = given.headers | bearer(role="admin") | {"if-match": "1"}
    for function, method in {each[:2] for each in LIMITED}:
        use_up(app, minute, function, method)
    for function, method, path, body in LIMITED:
        filled = body and {name: value.replace("HOLD", given.id) for name, value in body.items()}
        app.forget()
        answer = app.call(function, method, path.replace("HOLD", given.id), filled, headers)
        assert (answer.status, answer.problem) == (429, "too-many-requests"), (method, path)


def test_stripe_known_errors_and_health_are_heard_whatever_the_address_has_asked(
    app: App, minute: datetime
) -> None:
    for function, method in (("stripe-webhook", "POST"), ("log-error", "POST"), ("health", "GET")):
        use_up(app, minute, function, method)
    assert (
        app.outcome(event_of("payment_intent.succeeded", intent("pi_unknown", 100, "succeeded"))) == "parked"
    )
    for _ in range(2):
        report = {"message": "it broke", "severity": "error"}
        app.set(DATABASE_URL=app.error_writer_url)
        assert app.call("log-error", "POST", "/", report).status == 202
    app.set(DATABASE_URL=app.app_url)
    assert app.call("health", "GET", "/ready").body["database"] == {
        "reached": True,
        "migrations_current": True,
    }


def test_without_rate_limits_nothing_is_counted(app: App) -> None:
    """On a local stack alone."""
    app.set(RATE_LIMITS="off", RATE_LIMIT_ADDRESS="1")
    slot = app.slot()
    assert [hold(app, slot).status for _ in range(3)] == [201] * 3
    assert app.count("rate_limits") == 0


def test_who_was_where_is_not_kept(app: App) -> None:
    """Buckets are named by digests, and go when their minute is over."""
    email = app.email()
    assert hold(app, app.slot(), email=email).status == 201
    rows = str(app.rows("SELECT * FROM rate_limits"))
    assert rows.count("tests-reservations:acts:") == 2
    assert SOURCE_IP not in rows
    assert email not in rows
    app.rows("UPDATE rate_limits SET ends_at = ends_at - interval '1 minute'")
    app.invoke("reservation-cleanup")
    assert app.count("rate_limits") == 0
