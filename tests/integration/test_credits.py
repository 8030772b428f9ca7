"""Credits: granted, spent, returned and expired; the ledger is the balance, whatever the order."""

import json
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors

from tests.support.app import App, new_key
from tests.support.lambda_events import Answer, Context
from tests.support.postgres import on_every_postgres
from tests.support.round_trips import proxied
from tests.support.sign_in import configure, request, token

type Ask = Callable[..., Answer]
MOST = 1_000_000_000


@pytest.fixture
def ask(app: App, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Calls `admin` about a user's credits, as an administrator."""
    configure(monkeypatch)

    def call(
        user: str, body: object = None, *, key: str | None = None, by: str = "admin-1", query: str = ""
    ) -> Answer:
        headers = {"idempotency-key": key} if key else {}
        method = "GET" if body is None else "POST"
        path = f"/customers/{user}/credits"
        bearer = token(role="admin", sub=by)
        event = request(method, path, bearer=bearer, headers=headers, query=query)
        if body is not None:
            event |= {"body": body if isinstance(body, str) else json.dumps(body)}
        answered = app.handler("admin")(event, Context())
        return Answer(answered["statusCode"], answered["body"], answered["headers"])

    return call


@pytest.fixture
def as_app(app: App) -> Generator[psycopg.Connection[Any]]:
    """A connection as the functions have it."""
    with psycopg.connect(app.app_url, autocommit=True) as conn:
        yield conn


def grant(app: App, number: int, *, user: str = "user-1", expires: str | None = None) -> dict[str, Any]:
    """What `grant_credits` answers; `expires` is an interval from now, and may be past."""
    answer = app.value("SELECT grant_credits(%s, %s, NULL, 'welcome')", user, number)
    if expires is not None:
        app.rows(
            "UPDATE credit_grants SET expires_at = now() + %s::interval WHERE id = (SELECT max(grant_id::text)::uuid"
            " FROM credit_entries WHERE id = (SELECT max(id) FROM credit_entries))",
            expires,
        )
    return answer


def booking(app: App) -> UUID:
    """A booking, whichever; who spends on it is the test's affair."""
    app.booked(app.slot())
    return app.value("SELECT id FROM bookings ORDER BY created_at DESC LIMIT 1")


def spend(app: App, number: int, on: UUID, *, user: str = "user-1") -> bool:
    return app.value("SELECT spend_credits(%s, %s, %s, 'booked')", user, number, on)


def give_back(app: App, number: int, of: UUID) -> None:
    app.rows("SELECT return_credits(%s, %s, 'cancelled')", of, number)


def balance(app: App, user: str = "user-1") -> int:
    """As operators read it."""
    return app.value("SELECT coalesce((SELECT balance FROM user_credits WHERE user_id = %s), 0)", user)


def entries(app: App) -> list[tuple[str, int]]:
    return app.rows("SELECT kind, delta FROM credit_entries ORDER BY id")


def broken_ledger(app: App) -> list[str]:
    """What the view says of balances and grants."""
    return [row[0] for row in app.violations() if row[0].startswith(("a balance", "what remains"))]


# What administrators do.


@on_every_postgres
def test_an_administrator_grants_and_takes_away(app: App, ask: Ask) -> None:
    """Each answers the balance; below zero is refused and changes nothing."""
    answer = ask("user-1", {"delta": 10, "reason": "welcome"})
    assert (answer.status, answer.body) == (201, {"balance": 10})
    assert ask("user-1", {"delta": -4, "reason": "a mistake"}).body == {"balance": 6}
    before = app.dump()
    answer = ask("user-1", {"delta": -7, "reason": "a mistake"})
    assert (answer.status, answer.problem) == (409, "insufficient-credits")
    assert ask("user-2", {"delta": -1, "reason": "a mistake"}).problem == "insufficient-credits"
    assert app.dump() == before
    assert (balance(app), entries(app)) == (6, [("grant", 10), ("deduct", -4)])
    assert app.violations() == []


def test_credits_are_shown_with_their_grants_and_entries(app: App, ask: Ask) -> None:
    """Newest entry first, page by page; of grants those that can be spent, the first to be spent first."""
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    ask("user-1", {"delta": 3, "reason": "for good"})
    ask("user-1", {"delta": 2, "reason": "for a day", "expires_at": tomorrow.isoformat()})
    grant(app, 5, expires="-1 second")
    on = booking(app)
    assert spend(app, 1, on)

    first = ask("user-1", query="limit=3").body
    assert first["balance"] == 4
    assert [(g["amount"], g["remaining"]) for g in first["grants"]] == [(2, 1), (3, 3)]
    assert first["grants"][0]["expires_at"] == f"{tomorrow:%Y-%m-%dT%H:%M:%S}.000000Z"
    assert first["grants"][1]["expires_at"] is None
    spent = first["entries"][0]
    assert (spent["kind"], spent["delta"], spent["booking_id"]) == ("spend", -1, str(on))
    second = ask("user-1", query=f"limit=3&cursor={first['next']}").body
    assert [(e["kind"], e["reason"]) for e in second["entries"]] == [("grant", "for good")]
    assert "next" not in second
    assert ask("nobody").body == {"balance": 0, "grants": [], "entries": []}


def test_a_key_grants_once(app: App, ask: Ask) -> None:
    """Byte for byte the same answer; another body or another user under it is refused; another administrator's is another."""
    body, key = {"delta": 5, "reason": "welcome"}, new_key()
    first, again = ask("user-1", body, key=key), ask("user-1", body, key=key)
    assert (again.status, again.text) == (201, first.text)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert ask("user-1", {**body, "delta": 6}, key=key).problem == "idempotency-key-reused"
    assert ask("user-2", body, key=key).problem == "idempotency-key-reused"
    assert ask("user-1", body, key=key, by="admin-2").body == {"balance": 10}
    assert balance(app) == 10


def test_a_refusal_leaves_its_key_free(app: App, ask: Ask) -> None:
    """The same call goes through once there are credits."""
    body, key = {"delta": -1, "reason": "a mistake"}, new_key()
    assert ask("user-1", body, key=key).problem == "insufficient-credits"
    grant(app, 1)
    assert ask("user-1", body, key=key).body == {"balance": 0}


def test_a_grant_whose_commit_was_lost_is_made_once(app: App, ask: Ask) -> None:
    """Without a key, too: the unit's second run finds the first. One round trip each."""
    with proxied(app.app_url) as (proxy, url):
        app.set(DATABASE_URL=url)
        assert ask("user-1", {"delta": 5, "reason": "welcome"}).body == {"balance": 5}
        proxy.count()
        assert ask("user-1", {"delta": 1, "reason": "welcome"}).body == {"balance": 6}
        assert proxy.count() == 1
        proxy.cut("after", b"grant_credits")
        answer = ask("user-1", {"delta": 5, "reason": "welcome"})
        assert (answer.status, answer.body, proxy.cuts) == (201, {"balance": 11}, 1)
        assert "Idempotent-Replayed" not in answer.headers
        app.forget()
    assert balance(app) == 11


def test_who_granted_and_why_is_on_record(app: App, ask: Ask) -> None:
    """The reason without what is nobody's business; the administrator in the audit."""
    ask("user-1", {"delta": 5, "reason": "asked by ada@example.com"})
    assert "ada@" not in app.value("SELECT reason FROM credit_entries")
    row = app.row(
        "SELECT performed_by, performed_by_id, reason FROM booking_audit_log WHERE table_name = 'credit_entries'"
    )
    assert row[:2] == ("admin", "admin-1")
    assert row[2] == app.value("SELECT reason FROM credit_entries")


@pytest.mark.parametrize("user", ["auth0%7C123", "ada%40example.com", "zo%C3%AB", "a%20b", "x" * 255])
def test_a_user_is_whoever_a_token_names(app: App, ask: Ask, user: str) -> None:
    assert ask(user, {"delta": 1, "reason": "welcome"}).status == 201
    assert ask(user).body["balance"] == 1
    assert "%" not in app.value("SELECT user_id FROM user_credits")


@pytest.mark.parametrize("user", ["x" * 256, "a%00b", "%FF", "a%0Ab", "%C2%85"])
def test_a_user_that_no_token_names_is_not_found(app: App, ask: Ask, user: str) -> None:
    assert ask(user, {"delta": 1, "reason": "welcome"}).status == 404
    assert app.count("user_credits") == 0


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"delta": 0, "reason": "r"}, ""),
        ({"delta": 1_000_001, "reason": "r"}, "/delta"),
        ({"delta": -1_000_001, "reason": "r"}, "/delta"),
        ({"delta": 1.0, "reason": "r"}, "/delta"),
        ({"delta": "1", "reason": "r"}, "/delta"),
        ({"delta": True, "reason": "r"}, "/delta"),
        ({"delta": 10**30, "reason": "r"}, "/delta"),
        ({"delta": 1}, "/reason"),
        ({"delta": 1, "reason": " "}, "/reason"),
        ({"delta": 1, "reason": "a\u0000b"}, "/reason"),
        ({"delta": 1, "reason": "x" * 201}, "/reason"),
        ({"delta": 1, "reason": "r", "balance": 5}, "/balance"),
        ({"delta": -1, "reason": "r", "expires_at": "2999-01-01T00:00:00Z"}, ""),
        ({"delta": 1, "reason": "r", "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"delta": 1, "reason": "r", "expires_at": "2999-01-01T00:00:00"}, "/expires_at"),
        ({"delta": 1, "reason": "r", "expires_at": "10000-01-01T00:00:00Z"}, "/expires_at"),
        ({"delta": 1, "reason": "r", "expires_at": "9999-12-31T23:00:00-12:00"}, "/expires_at"),
    ],
    ids=lambda given: str(given)[:60],
)
def test_credits_that_cannot_be_are_refused(app: App, ask: Ask, body: dict[str, Any], pointer: str) -> None:
    """422 that names the field, and nothing is there afterwards."""
    answer = ask("user-1", body)
    assert (answer.status, answer.body["errors"][0]["pointer"]) == (422, pointer)
    assert [
        app.count(t) for t in ("user_credits", "credit_grants", "credit_entries", "idempotency_keys")
    ] == [0] * 4


def test_a_balance_has_an_end(app: App, ask: Ask) -> None:
    """Far below what the column can hold: a sum never overflows."""
    grant(app, MOST)
    answer = ask("user-1", {"delta": 1, "reason": "r"})
    assert (answer.status, answer.body["errors"][0]["pointer"]) == (422, "/delta")
    assert balance(app) == MOST


# Spending and giving back.


@on_every_postgres
def test_what_expires_first_is_spent_first(app: App) -> None:
    """Over several grants; what has expired already is not spent, though it is in the balance yet."""
    for number, expires in ((4, None), (3, "2 days"), (2, "1 day"), (9, "-1 second")):
        grant(app, number, expires=expires)
    on = booking(app)
    assert not spend(app, 10, on)
    assert spend(app, 6, on)
    remaining = app.rows("SELECT amount, remaining FROM credit_grants ORDER BY amount")
    assert remaining == [(2, 0), (3, 0), (4, 3), (9, 9)]
    assert balance(app) == 12


def test_who_has_not_enough_spends_nothing(app: App) -> None:
    """Nothing is written; none and less than none cannot be spent."""
    grant(app, 2)
    on = booking(app)
    before = app.dump()
    for number in (3, 0, -1, None):
        assert not app.value("SELECT spend_credits('user-1', %s, %s, 'booked')", number, on)
    assert not spend(app, 1, on, user="user-2")
    assert app.dump() == before


def test_a_booking_that_fails_after_the_deduction_costs_nothing(app: App) -> None:
    """Case 29: the deduction is of the same commit as the booking, which is looked for only there."""
    grant(app, 1)
    before = app.dump()
    with psycopg.connect(app.app_url) as conn:
        paid = conn.execute("SELECT spend_credits('user-1', 1, %s, 'booked')", [uuid4()]).fetchone()
        assert paid == (True,)
        with pytest.raises(errors.ForeignKeyViolation):
            conn.commit()
    assert app.dump() == before


@on_every_postgres
def test_credits_come_back_once_and_to_their_grants(app: App) -> None:
    """Case 29: what lasts longest comes back first, with its expiry; a second time changes nothing."""
    grant(app, 4)
    grant(app, 3, expires="1 day")
    on = booking(app)
    assert spend(app, 5, on)
    give_back(app, 3, on)
    give_back(app, 3, on)
    assert app.rows("SELECT amount, remaining FROM credit_grants ORDER BY amount") == [(3, 1), (4, 4)]
    assert entries(app)[-2:] == [("return", 2), ("return", 1)]
    assert broken_ledger(app) == []


def test_no_more_comes_back_than_was_spent(app: App) -> None:
    """Whatever is asked for; and nothing to who has spent nothing."""
    grant(app, 4)
    on, other = booking(app), booking(app)
    assert spend(app, 3, on)
    give_back(app, 2, other)
    give_back(app, 99, on)
    assert balance(app) == 4


def test_what_comes_back_after_its_time_expires_with_the_rest(app: App) -> None:
    """It keeps its grant's expiry."""
    grant(app, 3, expires="1 day")
    on = booking(app)
    assert spend(app, 3, on)
    app.rows("UPDATE credit_grants SET expires_at = now() - interval '1 second'")
    give_back(app, 3, on)
    assert app.value("SELECT credits_left('user-1')") == 0
    assert app.invoke("reservation-cleanup")["credits_expired"] == 3
    assert balance(app) == 0


# Expiry.


def test_more_credits_expire_than_an_integer_counts(app: App) -> None:
    """They are written off; how many they were is said as far as it can be."""
    for user in ("user-1", "user-2", "user-3"):
        grant(app, 1_000_000_000, user=user, expires="-1 second")
    assert app.value("SELECT expire_credits()") == 2_147_483_647
    assert app.value("SELECT sum(balance) FROM user_credits") == 0


def test_the_clean_up_writes_off_what_has_expired(app: App) -> None:
    """Once, of every user, however many batches that takes; who did it is in the audit."""
    for user in ("user-1", "user-2"):
        grant(app, 5, user=user)
        grant(app, 3, user=user, expires="-1 second")
    assert app.value("SELECT expire_credits(1)") == 3
    assert app.invoke("reservation-cleanup")["credits_expired"] == 3
    assert app.invoke("reservation-cleanup")["credits_expired"] == 0
    assert [balance(app, user) for user in ("user-1", "user-2")] == [5, 5]
    assert app.value("SELECT count(*) FROM credit_entries WHERE kind = 'expire'") == 2
    assert broken_ledger(app) == []


# What the database keeps.


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["grant", "brief", "take", "spend", "return", "expire"]),
            st.integers(1, 6),
            st.integers(0, 2),
        ),
        max_size=25,
    )
)
def test_the_ledger_is_the_balance_whatever_the_order(app: App, acts: list[tuple[str, int, int]]) -> None:
    """Any acts in any order: balance, grants and entries agree, nothing is below zero, and a model says the same."""
    user, bookings = str(uuid4()), [uuid4() for _ in range(3)]
    left, spent, returned = 0, [0, 0, 0], [False] * 3
    with psycopg.connect(app.owner_url) as conn:
        # The bookings are not there, and at the end nothing is: no commit comes to look.
        def ask(query: str, *params: object) -> Any:
            row = conn.execute(query.encode(), params).fetchone()
            assert row is not None
            return row[0]

        for act, number, which in acts:
            if act in ("grant", "brief"):
                ask("SELECT grant_credits(%s, %s, NULL, 'r')", user, number)
                left += number
                if act == "brief":
                    conn.execute("UPDATE credit_grants SET expires_at = now() WHERE remaining = amount AND expires_at IS NULL AND user_id = %s AND id = (SELECT grant_id FROM credit_entries ORDER BY id DESC LIMIT 1)", [user])  # fmt: skip
                    left -= number
            elif act == "take":
                outcome = ask("SELECT grant_credits(%s, %s, NULL, 'r')", user, -number)["outcome"]
                assert (outcome == "changed") == (left >= number)
                left -= number if outcome == "changed" else 0
            elif act == "spend" and not spent[which]:
                done = ask("SELECT spend_credits(%s, %s, %s, 'r')", user, number, bookings[which])
                assert done == (left >= number)
                spent[which], left = (number, left - number) if done else (0, left)
            elif act == "return":
                ask("SELECT return_credits(%s, %s, 'r')::text", bookings[which], number)
                left += 0 if returned[which] else min(number, spent[which])
                returned[which] |= spent[which] > 0
            elif act == "expire":
                ask("SELECT expire_credits()")
            assert ask("SELECT credits_left(%s)", user) == left
        ask("SELECT expire_credits()")
        total = "SELECT coalesce(sum({}), 0) FROM {} WHERE user_id = %s"
        for column, table in (
            ("balance", "user_credits"),
            ("delta", "credit_entries"),
            ("remaining", "credit_grants"),
        ):
            assert ask(total.format(column, table), user) == left
        conn.rollback()


def refused(app: App, constraint: str, query: str, *params: object) -> None:
    """The owner's statement is refused by this constraint."""
    with pytest.raises((psycopg.IntegrityError, errors.InsufficientPrivilege)) as violation:
        app.rows(query, *params)
    assert violation.value.diag.constraint_name == constraint


def test_nobody_writes_below_zero(app: App) -> None:
    """Nor an entry of the wrong sign, of another's grant, of no booking, or twice; nor changes one."""
    grant(app, 2)
    add = """
        INSERT INTO credit_entries (user_id, grant_id, kind, delta, reason)
        SELECT %s, id, %s, %s, 'by hand' FROM credit_grants WHERE user_id = 'user-1'
    """
    refused(app, "user_credits_are_never_below_zero", add, "user-1", "deduct", -3)
    refused(app, "credit_entries_go_the_way_of_their_kind", add, "user-1", "deduct", 1)
    refused(app, "credit_entries_go_the_way_of_their_kind", add, "user-1", "expire", 0)
    refused(app, "credit_entries_of_a_booking_name_it", add, "user-1", "spend", -1)
    refused(app, "credit_entries_grant_once", add, "user-1", "grant", 1)
    grant(app, 5, user="user-2")
    refused(app, "credit_entries_are_of_a_grant_of_their_user", add, "user-2", "deduct", -1)
    refused(
        app, "credit_grants_remain_within_their_amount", "UPDATE credit_grants SET remaining = amount + 1"
    )
    refused(app, "credit_entries_are_append_only", "UPDATE credit_entries SET delta = 1")
    refused(app, "credit_entries_are_append_only", "DELETE FROM credit_entries")
    refused(app, "credit_entries_are_append_only", "TRUNCATE credit_entries")
    app.rows(add, "user-1", "deduct", -2)
    assert (balance(app), broken_ledger(app)) == (0, [])


@pytest.mark.parametrize(
    "query",
    [
        "UPDATE user_credits SET balance = 100",
        "INSERT INTO user_credits (user_id, balance) VALUES ('user-2', 100)",
        "UPDATE credit_grants SET remaining = amount",
        "INSERT INTO credit_grants (user_id, amount) VALUES ('user-1', 5)",
        "INSERT INTO credit_entries (user_id, grant_id, kind, delta, reason) SELECT user_id, id, 'return', 1, 'r' FROM credit_grants",
        "DELETE FROM credit_entries",
        "SELECT take_credits('user-1', 1, 'deduct', NULL, 'r')",
    ],
)
def test_the_functions_change_credits_by_their_acts_alone(
    app: App, as_app: psycopg.Connection[Any], query: str
) -> None:
    """`app` reads the tables and calls what keeps them; it writes no balance, grant or entry by itself."""
    grant(app, 2)
    with pytest.raises(errors.InsufficientPrivilege):
        as_app.execute(query.encode())


def test_log_error_has_no_credits_to_give(app: App) -> None:
    """What acts as the owner is closed to whom anybody may call."""
    with psycopg.connect(app.error_writer_url, autocommit=True) as conn:
        for call in ("grant_credits('u', 1, NULL, 'r')", "expire_credits()", "spend_credits('u', 1, gen_random_uuid(), 'r')", "return_credits(gen_random_uuid(), 1, 'r')"):  # fmt: skip
            with pytest.raises(errors.InsufficientPrivilege):
                conn.execute(f"SELECT {call}".encode())


def test_the_view_names_a_ledger_that_does_not_add_up(app: App) -> None:
    """By user and by grant."""
    grant(app, 5)
    app.rows("UPDATE user_credits SET balance = 6")
    app.rows("UPDATE credit_grants SET remaining = 4")
    assert broken_ledger(app) == [
        "a balance is the sum of its entries",
        "what remains of a grant is the sum of its entries",
    ]


def test_the_view_names_a_booking_that_has_not_spent_what_it_says(app: App) -> None:
    """Or whose credits came back although it stands."""
    name = "a booking has spent its credits, and says what became of them"
    grant(app, 5)
    on = booking(app)
    assert spend(app, 2, on)
    assert name in [row[0] for row in app.violations()]
    app.rows("UPDATE bookings SET payment_id = NULL, payment_method = 'credits', payment_status = 'paid', amount = 0, credits = 2, user_id = 'user-1'")  # fmt: skip
    assert name not in [row[0] for row in app.violations()]
    give_back(app, 1, on)
    assert name in [row[0] for row in app.violations()]
    app.rows("UPDATE bookings SET status = 'cancelled', payment_status = 'partially_refunded'")
    assert name not in [row[0] for row in app.violations()]
