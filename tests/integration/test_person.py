"""What is kept of a person is exported, and forgotten: books, bookings, money and audit stay whole."""

import json
import re
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from scripts.export_person import SECTIONS, export
from scripts.forget_person import StillOpen, forget
from scripts.verify_audit import verify
from tests.support.app import App, Hold

EMAIL = "Ada.Lovelace@Example.com"
WORDS = re.compile(r"\bada.lovelace\b|1 234567", re.IGNORECASE)
ROOT = Path(__file__).resolve().parents[2]

type Owner = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def owner(app: App) -> Generator[Owner]:
    with psycopg.connect(app.owner_url, autocommit=True) as conn:
        yield conn


def traces(app: App) -> set[str]:
    """The tables in which anything of hers stands in the clear."""
    return {name for name, rows in app.dump().items() if WORDS.search(rows)}


def ada_has_bought(app: App) -> Hold:
    """A paid booking of hers, and all that may be left of it elsewhere; somebody else has bought as well."""
    slot = app.slot()
    app.booked(slot)
    request = app.hold_request(slot, email=EMAIL, name="Ada Lovelace", phone="+43 1 234567")
    answer = app.call(
        "reservations", "POST", "/reservations", request, {"idempotency-key": "a-key-of-adas-own"}
    )
    hold = Hold(answer.body["id"], answer.body["token"], answer.body["amount"], EMAIL)
    payment = app.payment(hold)
    app.confirm(payment)
    event = app.event(payment.intent_id, "payment_intent.succeeded")
    event["data"]["object"]["receipt_email"] = EMAIL
    assert app.outcome(event) == "processed"
    parked: dict[str, Any] = app.event(payment.intent_id, "payment_intent.created")
    parked["id"] = "evt_of_ada"
    parked["data"]["object"]["shipping"] = {"name": "Ada Lovelace", "phone": "+43 1 234567"}
    parked["data"]["object"]["description"] = f"for {EMAIL}"
    app.rows(
        """
        INSERT INTO webhook_events_log (event_id, event_type, status, payload, last_error)
        VALUES ('evt_of_ada', 'payment_intent.created', 'quarantined', %s, 'no such thing for Ada.Lovelace@example.com')
        """,
        json.dumps(parked),
    )
    app.rows(
        """
        INSERT INTO error_groups (fingerprint, severity, source, title)
        VALUES ('f1', 'error', 'frontend', 'no seat for Ada Lovelace'), ('f2', 'error', 'frontend', 'no canada lovelaces');
        INSERT INTO error_logs (fingerprint, severity, error_message, context)
        VALUES ('f1', 'error', 'no seat for Ada Lovelace', '{}'), ('f2', 'error', 'no canada lovelaces', '{}'),
               ('f2', 'error', 'x', '{"call": "+43 1 234567"}')
        """
    )
    app.invoke("seal-audit")
    return hold


def test_everything_that_is_kept_of_a_person_is_exported(app: App, owner: Owner) -> None:
    """By the address in any case: each of her rows, and nothing of anybody else's."""
    hold = ada_has_bought(app)
    kept = export(owner, EMAIL.upper())
    counts = {name: len(rows) for name, rows in kept.items()}
    empty = {"reservation_add_ons", "booking_add_ons", "refunds", "disputes", "credits"}
    assert {name for name, number in counts.items() if not number} == empty
    assert kept.keys() == SECTIONS.keys()
    assert counts["customer"] == counts["bookings"] == counts["reservations"] == counts["payments"] == 1
    assert [row["payload"]["type"] for row in kept["notifications"]] == ["booked"]
    assert {row["id"] for row in kept["reservations"]} == {hold.id}
    assert {row["fingerprint"] for row in kept["error_samples"]} == {"f1", "f2"}
    assert counts["error_samples"] == 2
    text = json.dumps(kept)
    assert "buyer" not in text
    assert text.count(hold.id) > 5
    assert not any(export(owner, "nobody@example.com").values())


def test_forgetting_leaves_nothing_of_the_person_and_all_of_the_books(app: App, owner: Owner) -> None:
    """No table has address, name or phone any more; seats, money, bookings and audit are as they were."""
    hold = ada_has_bought(app)
    assert traces(app) == {
        *("customers", "outbox", "webhook_events_log", "idempotency_keys", "error_groups", "error_logs"),
    }
    books = (
        "slots",
        "ticket_reservations",
        "reservation_items",
        "payment_intents_log",
        "bookings",
        "booking_items",
    )
    before = {name: rows for name, rows in app.dump().items() if name in books}
    audited = app.value("SELECT json_agg(l ORDER BY id)::text FROM booking_audit_log l")

    done = forget(owner, EMAIL.upper())

    assert traces(app) == set()
    assert {name: rows for name, rows in app.dump().items() if name in books} == before
    assert app.violations() == []
    assert done == {
        "notifications stripped, those that waited not sent": 1,
        "idempotency keys removed": 1,
        "error samples removed": 2,
        "error titles removed": 1,
        "events of Stripe's stripped": 2,
        "customers made nameless": 1,
        "bookings still ahead, honoured as before": 1,
    }
    assert app.value("SELECT json_agg(l ORDER BY id)::text FROM booking_audit_log l").startswith(audited[:-1])
    assert app.row(
        "SELECT table_name, performed_by, reason FROM booking_audit_log ORDER BY id DESC LIMIT 1"
    ) == (*("customers", "operator", "forgotten"),)
    app.invoke("seal-audit")
    assert "0 wait for their seal" in verify(owner)
    assert app.show(hold)["booking_id"]
    assert (
        app.value("SELECT status FROM outbox WHERE payload ->> 'reservation_id' = %s", hold.id) == "canceled"
    )
    assert not any(forget(owner, EMAIL).values())
    app.hold(app.slot(), email=EMAIL)


def test_what_an_event_needs_to_be_done_again_is_left(app: App, owner: Owner) -> None:
    """Of an event that a person may replay, only what is about people goes."""
    ada_has_bought(app)
    forget(owner, EMAIL)
    rows = dict(app.rows("SELECT event_id, payload FROM webhook_events_log WHERE payload::text <> '{}'"))
    kept = rows["evt_of_ada"]["data"]["object"]
    assert kept["metadata"]["holdfast_reservation_id"]
    assert kept["description"] == "[removed]"
    assert "shipping" not in kept
    assert len(rows) == 2  # the other buyer's, untouched


@pytest.mark.parametrize("what", ["holds", "refunds", "disputes"])
def test_nobody_is_forgotten_while_something_is_open(app: App, owner: Owner, what: str) -> None:
    """It says what, and changes nothing."""
    ada_has_bought(app)
    payment = "SELECT p.id FROM payment_intents_log p JOIN ticket_reservations r ON r.id = p.reservation_id JOIN customers c ON c.id = r.customer_id WHERE c.phone IS NOT NULL"
    if what == "holds":
        app.hold(app.slot(), email=EMAIL)
    elif what == "refunds":
        app.rows(
            f"INSERT INTO refunds (payment_id, amount, reason) SELECT id, 100, 'test' FROM ({payment}) p"
        )
    else:
        app.rows(
            f"""
            INSERT INTO disputes (id, stripe_dispute_id, payment_id, status, status_at, standing, amount, currency)
            SELECT gen_random_uuid(), 'dp_1', id, 'open', now(), 'open', 100, 'eur' FROM ({payment}) p
            """
        )
    before = app.dump()
    with pytest.raises(StillOpen, match=f"^1 {what}$"):
        forget(owner, EMAIL)
    assert app.dump() == before


def run(app: App, program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"scripts.{program}"],
        cwd=ROOT,
        env={"DATABASE_OWNER_URL": app.owner_url, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_programs_say_what_they_did(app: App, owner: Owner) -> None:
    """JSON and nothing else; a line for each kind; a refusal, a misfit and a missing address by their exit status."""
    ada_has_bought(app)
    assert json.loads(run(app, "export_person", EMAIL=EMAIL).stdout)["customer"][0]["phone"] == "+43 1 234567"
    app.hold(app.slot(), email=EMAIL)
    refused = run(app, "forget_person", EMAIL=EMAIL)
    assert (refused.returncode, refused.stderr) == (
        1,
        "not forgotten: still open are 1 holds; end them first\n",
    )
    app.rows(
        "SELECT release_holds(array_agg(id), 'expired') FROM ticket_reservations WHERE status = 'active'"
    )
    assert "1 customers made nameless" in run(app, "forget_person", EMAIL=EMAIL).stdout
    assert run(app, "forget_person").returncode == 2
    app.invoke("seal-audit")
    verified = run(app, "verify_audit")
    assert (verified.returncode, "entries fit" in verified.stdout) == (0, True)
    owner.execute(
        "ALTER TABLE booking_audit_log DISABLE TRIGGER USER; DELETE FROM booking_audit_log WHERE id = 5"
    )
    verified = run(app, "verify_audit")
    assert (verified.returncode, verified.stdout) == (1, "position 5: entry 5 is missing\n")
