"""The database is away: every function says so, soon, whether nobody listens or nothing comes back."""

import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from database import connection
from database.connection import Database, call, transaction
from domain.refusals import DatabaseUnavailable
from domain.reservation import reservation_token
from tests.support.app import TOKEN_SECRET, App
from tests.support.in_time import within
from tests.support.outages import nobody_listens, packets_are_dropped
from tests.support.sign_in import SECRET, token
from tests.support.stripe_events import encoded, event_of, intent, signature

SOON_S = 5.0
HOLD_ID = str(uuid4())
PAID = encoded(event_of("payment_intent.succeeded", intent("pi_1", 4500, "succeeded")))
HELD = {
    "items": [{"slot_id": str(uuid4()), "units": 1}],
    "customer": {"email": "ada@example.com", "name": "Ada"},
}
CALLS: dict[str, tuple[str, str, str, Any]] = {
    "offerings": ("reservations", "GET", "/offerings", None),
    "slots": ("reservations", "GET", "/slots", None),
    "hold": ("reservations", "POST", "/reservations", HELD),
    "show": ("reservations", "GET", f"/reservations/{HOLD_ID}", None),
    "cancel": ("reservations", "DELETE", f"/reservations/{HOLD_ID}", None),
    "pay": ("create-payment-intent", "POST", "/", {"reservation_id": HOLD_ID}),
    "book": ("bookings", "POST", "/bookings", {"reservation_id": HOLD_ID, "payment_method": "free"}),
    "booking": ("bookings", "GET", f"/bookings/{HOLD_ID}", None),
    "bookings": ("bookings", "GET", "/bookings", None),
    "webhook": ("stripe-webhook", "POST", "/", PAID),
    "report": ("log-error", "POST", "/", {"message": "m", "severity": "info"}),
    "stats": ("admin", "GET", "/stats", None),
    "ready": ("health", "GET", "/ready", None),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("away", [nobody_listens, packets_are_dropped])
def test_a_function_answers_503_soon(app: App, name: str, away: Any) -> None:
    """503 with Retry-After within 5 s."""
    function, method, path, body = CALLS[name]
    headers = {
        "stripe-signature": signature(PAID),
        "x-reservation-token": reservation_token(HOLD_ID, TOKEN_SECRET),
        "authorization": f"Bearer {token(role='admin')}",
    }
    with away() as port:
        app.set(DATABASE_URL=f"postgresql://app@127.0.0.1:{port}/holdfast", JWT_SECRET=SECRET)
        query = "offering=x" if name == "slots" else ""
        answer = within(
            SOON_S, lambda: app.call(function, method, path, body, headers, query=query), app.forget
        )
    assert answer.status == 503, answer
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("function", ["reservation-cleanup", "deliver-outbox", "reconcile-payments"])
def test_a_run_fails_soon(app: App, function: str) -> None:
    """A scheduled run says that it could not work; the next one makes up for it."""
    app.set(DATABASE_URL="postgresql://app@127.0.0.1:9/nowhere")

    def run() -> None:
        with pytest.raises(DatabaseUnavailable):
            app.invoke(function)

    within(SOON_S, run, app.forget)


def test_a_server_that_stops_answering_is_given_up(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection stands and nothing comes back, in one call or inside a transaction: away, and not waited for twice."""
    monkeypatch.setattr(connection, "RETRY_SECONDS", 0.0)
    database = Database(app.app_url)

    def meet_silence(act: Callable[[connection.Connection], int]) -> None:
        pid = database.run(lambda conn: call(conn, "SELECT pg_backend_pid()"))
        with monkeypatch.context() as patch, stopped(pid):
            patch.setattr(connection, "ANSWER_SECONDS", 2.0)
            with pytest.raises(DatabaseUnavailable):
                database.run(act)

    for act in (ask, ask_inside):
        within(3.9, lambda act=act: meet_silence(act))
    assert database.run(ask) == 1
    database.close()


def ask(conn: connection.Connection) -> int:
    return call(conn, "SELECT 1")


def ask_inside(conn: connection.Connection) -> int:
    with transaction(conn, {}) as unit:
        with unit.opening():
            conn.execute("SELECT 1")
        return 1


@contextmanager
def stopped(pid: int) -> Generator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
