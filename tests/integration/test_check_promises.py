"""`check-promises`: what it tells, and what `/stats` tells from it."""

import re
from pathlib import Path
from typing import Any

import pytest

from database.promises import INVARIANTS
from tests.support.app import App
from tests.support.logs import Logs
from tests.support.postgres import on_every_postgres
from tests.support.sign_in import configure, token

VIEW = Path(__file__).parents[2] / "migrations/functions/operations.sql"


@on_every_postgres
def test_a_shop_in_order_has_nothing_to_tell(app: App) -> None:
    """Every promise is looked at, nothing waits, and the run leaves its row."""
    app.booked(app.slot())
    app.invoke("seal-audit")
    result = app.invoke("check-promises")
    assert (result["invariant_violations"], result["invariants_unchecked"], result["broken"]) == (0, 0, {})
    assert {name: result[name] for name in QUIET} == QUIET
    assert 0 < result["connections_used_percent"] < 100
    assert result["oldest_unsealed_audit_seconds"] < 60
    assert "notification_success_percent" not in result
    assert result["figures"]["webhook_events"] == {"processed": 1}
    assert app.value("SELECT result FROM job_runs WHERE job = 'check-promises'") == result


QUIET = {
    "quarantined_events": 0,
    "parked_ours_events": 0,
    "failed_events": 0,
    "dead_events": 0,
    "dead_outbox_rows": 0,
    "unanswered_disputes": 0,
    "failed_refunds_made_at_stripe": 0,
    "holds_past_deadline": 0,
}


def test_every_invariant_of_the_view_is_looked_at() -> None:
    """By the name that the view gives it."""
    text = VIEW.read_text()
    said = re.findall(r"^SELECT '([^']+)'", text[text.index("VIEW invariant_violations") :], re.MULTILINE)
    assert sorted(said) == sorted(INVARIANTS)


def test_a_broken_promise_is_counted_and_named(app: App, logs: Logs) -> None:
    """In the answer, as a metric, and by an error in the log."""
    slot = app.slot()
    app.hold(slot)
    app.rows("UPDATE slots SET held_units = held_units + 1 WHERE id = %s", slot)
    result = app.invoke("check-promises")
    assert (result["invariant_violations"], result["broken"]) == (1, {"slot counts its holds": 1})
    assert logs.metrics()[-1]["InvariantViolations"] == [1.0]
    assert [line["broken"] for line in logs.lines("ERROR")] == [{"slot counts its holds": 1}]


def test_an_invariant_that_takes_too_long_is_said_to_be_unchecked(app: App) -> None:
    """The others have their turn."""
    app.rows(
        "CREATE OR REPLACE VIEW invariant_violations AS"
        " SELECT 'slot sells what it has' AS invariant, pg_sleep(60)::text AS subject_id, '' AS detail"
        " UNION ALL SELECT 'refunds never exceed what was paid', 'payment', ''"
    )
    name = app.value("SELECT current_database()")
    app.rows(f"ALTER ROLE app IN DATABASE {name} SET statement_timeout = '4s'")
    result = app.invoke("check-promises")
    assert (result["invariant_violations"], result["invariants_unchecked"]) == (1, 1)


def test_a_run_whose_time_is_over_says_so(app: App) -> None:
    """Nothing is said to be whole that nobody has looked at."""
    assert app.invoke("check-promises", seconds_left=0)["invariants_unchecked"] == len(INVARIANTS)


def test_what_waits_is_counted(app: App) -> None:
    """Rows for a person, late outbox rows, holds past their deadline, notifications that fail; of each one."""
    held, awaiting = app.hold(app.slot()), app.payment(app.hold(app.slot()))
    app.rows("UPDATE ticket_reservations SET expires_at = now() - interval '16 minutes'")
    app.rows("UPDATE payment_intents_log SET funds_awaited_at = now() WHERE id = %s", awaiting.id)
    assert app.status(held) == app.status(awaiting.hold) == "active"
    app.rows(
        """
        INSERT INTO webhook_events_log (event_id, event_type, status, payload, reason)
        SELECT 'evt_' || n, 'x', (ARRAY['quarantined', 'parked', 'parked', 'failed', 'dead'])[n], '{}',
               (ARRAY['', 'no such payment here', 'not made by this system', '', ''])[n]
        FROM generate_series(1, 5) n
        """
    )
    app.rows(
        """
        INSERT INTO outbox (kind, dedupe_key, payload, status, attempts, last_error, next_attempt_at)
        VALUES ('notification', 'a', '{}', 'delivered', 1, NULL, now()),
               ('notification', 'b', '{}', 'dead', 12, 'why', now()),
               ('notification', 'c', '{}', 'pending', 1, 'why', now() - interval '1 hour'),
               ('notification', 'd', '{}', 'pending', 0, NULL, now() + interval '1 hour')
        """
    )
    payment = app.booked(app.slot())
    app.rows(
        """
        INSERT INTO disputes (id, stripe_dispute_id, payment_id, status, status_at, standing, amount, currency)
        SELECT gen_random_uuid(), 'dp_' || status, %s, status, now(), standing, 4500, 'eur'
        FROM (VALUES ('needs_response', 'open'), ('under_review', 'open'), ('warning_needs_response', 'inquiry'))
            AS said (status, standing)
        """,
        payment.id,
    )
    app.rows(
        """
        INSERT INTO refunds (payment_id, amount, reason, status, updated_at)
        SELECT %s, 100, reason, 'failed', now() - ago FROM (VALUES
            ('made-at-stripe', interval '1 day'), ('made-at-stripe', interval '8 days'), ('requested', interval '1 day')
        ) AS said (reason, ago)
        """,
        payment.id,
    )
    result: dict[str, Any] = app.invoke("check-promises")
    assert {name: result[name] for name in QUIET} == dict.fromkeys(QUIET, 1)
    assert 3600 <= result["oldest_due_outbox_seconds"] < 3700
    assert result["notification_success_percent"] == 33


# What `/stats` tells.


@pytest.fixture
def stats(app: App, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The answer of `/stats` to an administrator."""
    configure(monkeypatch)

    def ask() -> Any:
        headers = {"authorization": f"Bearer {token(role='admin')}"}
        return app.call("admin", "GET", "/stats", headers=headers).body

    return ask


def make_large(app: App) -> None:
    """Fills a page after page of a table that counts, as seventeen million bytes do."""
    app.rows(
        """
        INSERT INTO webhook_events_log (event_id, event_type, status, payload)
        SELECT 'evt_' || n, 'x', 'ignored', jsonb_build_object('a', repeat(md5(n::text), 60))
        FROM generate_series(1, 10000) n
        """
    )


def test_large_tables_are_counted_by_the_check_and_not_by_every_call(app: App, stats: Any) -> None:
    """Figures and violations are those of the last check, and say when that was."""
    make_large(app)
    app.invoke("check-promises")
    checked = stats()
    slot = app.slot()
    app.hold(slot)
    app.rows("UPDATE slots SET held_units = held_units + 1 WHERE id = %s", slot)
    assert stats() == checked
    assert (checked["webhook_events"], checked["invariant_violations"]) == ({"ignored": 10000}, 0)
    app.invoke("check-promises")
    assert (stats()["active"], stats()["invariant_violations"]) == (1, 1)
    assert stats()["counted_at"] > checked["counted_at"]


def test_small_tables_are_counted_now(app: App, stats: Any) -> None:
    """A check that was before is not asked."""
    app.invoke("check-promises")
    app.hold(app.slot())
    assert stats()["active"] == 1
