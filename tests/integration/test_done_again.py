"""What takes a payment's lease is done again where the answer of its COMMIT was lost: it knows its own, and nobody else's."""

from collections.abc import Generator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from domain.currencies import chargeable_limits
from tests.support.app import App, Payment
from tests.support.postgres import on_every_postgres


class Caller:
    """Runs each of the units as often as it is told, as one call."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self._conn = conn
        self.id = str(uuid4())

    def _run(self, query: str, *params: object) -> str:
        context = Jsonb({"actor": "customer", "request_id": self.id})
        with self._conn.transaction():
            self._conn.execute("SELECT set_config('holdfast.context', %s::text, true)", [context])
            row = self._conn.execute(query.encode(), params).fetchone()
        assert row is not None
        return row[0]["outcome"]

    def pay(self, payment: Payment) -> str:
        query = "SELECT begin_payment(%s, %s, 'payment_intent', '{}', %s, '10 minutes', '12 seconds')"
        return self._run(query, self.id, payment.hold.id, Jsonb(chargeable_limits()))

    def cancel(self, payment: Payment) -> str:
        return self._run("SELECT begin_close(%s, 'cancelled', '45 seconds')", payment.hold.id)

    def book(self, payment: Payment) -> str:
        query = "SELECT book_reservation(%s, %s, 'pay_on_arrival', NULL, '45 seconds')"
        return self._run(query, self.id, payment.hold.id)


@pytest.fixture
def payment(app: App) -> Payment:
    """Open at Stripe, on a hold that could be booked on arrival as well; nobody has its lease."""
    payment = app.payment(app.hold(app.slot(pay_on_arrival=True)))
    app.leases_over()
    return payment


@pytest.fixture
def callers(app: App) -> Generator[tuple[Caller, Caller]]:
    with (
        psycopg.connect(app.app_url, autocommit=True) as one,
        psycopg.connect(app.app_url, autocommit=True) as other,
    ):
        yield Caller(one), Caller(other)


@on_every_postgres
@pytest.mark.parametrize(
    ("act", "outcomes"),
    [
        (Caller.pay, ["fetch", "fetch", "request-in-progress"]),
        (Caller.cancel, ["close", "close", "in-progress"]),
        (Caller.book, ["close", "close", "request-in-progress"]),
    ],
    ids=["pay", "cancel", "book"],
)
def test_a_call_that_is_done_again_goes_on(
    app: App, payment: Payment, callers: tuple[Caller, Caller], act: Any, outcomes: list[str]
) -> None:
    """With the next attempt, by which the first is fenced off; another call is told that somebody is at it."""
    caller, stranger = callers
    first = app.value("SELECT attempt FROM payment_intents_log")
    assert [act(who, payment) for who in (caller, caller, stranger)] == outcomes
    assert app.value("SELECT attempt FROM payment_intents_log") == first + 2


def test_a_lease_that_cleanup_has_taken_over_is_nobodys_own(
    app: App, payment: Payment, callers: tuple[Caller, Caller]
) -> None:
    """The call came too late: it is told that somebody is at it."""
    caller, _ = callers
    assert caller.pay(payment) == "fetch"
    app.expire(payment.hold)
    app.leases_over()
    assert len(app.rows("SELECT claim_payments_to_close(10, '45 seconds')")) == 1
    app.rows("UPDATE ticket_reservations SET expires_at = ceiling_at, closing_at = NULL, closing_as = NULL")
    assert caller.pay(payment) == "request-in-progress"
