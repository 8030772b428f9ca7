"""The bench's own SQL keeps up with the schema: what it is held against does the same, and what it fills is sound."""

import json
from pathlib import Path

import psycopg

from local.postgres import SUPERUSER, PostgresServer
from tests.support.app import App

BENCH = Path(__file__).resolve().parents[2] / "bench"


def test_the_act_behind_gunicorn_books_what_a_webhook_books(app: App) -> None:
    """Once, however often the event comes."""
    app.rows((BENCH / "gunicorn.sql").read_text())
    payment = app.payment(app.hold(app.slot()))
    app.confirm(payment)
    event = app.event(payment.intent_id, "payment_intent.succeeded")
    for _ in range(2):
        app.rows(
            "SELECT bench_apply_event(%s, %s, %s, %s, %s, 'bench')",
            event["id"],
            event["type"],
            json.dumps(event),
            payment.intent_id,
            payment.hold.amount,
        )
    assert app.status(payment.hold) == "completed"
    assert app.rows("SELECT status, deliveries FROM webhook_events_log") == [("processed", 2)]
    assert app.violations() == []


def test_the_large_shop_breaks_no_promise(app: App, postgres: PostgresServer, database_name: str) -> None:
    """As many rows as were asked for, and counts that agree with each other."""
    with psycopg.connect(postgres.url(SUPERUSER, database_name), autocommit=True) as conn:
        for name, rows in {"events": 2000, "holds": 4000, "slots": 300}.items():
            conn.execute("SELECT set_config(%s, %s, false)", [f"bench.{name}", str(rows)])
        conn.execute((BENCH / "large.sql").read_bytes())
    assert [app.count(table) for table in ("webhook_events_log", "ticket_reservations", "slots")] == [
        2000,
        4000,
        300,
    ]
    assert app.violations() == []
