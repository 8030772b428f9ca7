"""The hash chain over the audit: whatever its owner does to log, seals or checkpoint is found, and named."""

from collections.abc import Generator
from typing import Any

import psycopg
import pytest
from psycopg import errors

from scripts.verify_audit import DoesNotFit, verify
from tests.support.app import App
from tests.support.postgres import on_every_postgres

type Owner = psycopg.Connection[tuple[Any, ...]]
KEPT_DAYS = 2557


@pytest.fixture
def owner(app: App) -> Generator[Owner]:
    """Who may do anything to the tables, and turn their triggers off."""
    with psycopg.connect(app.owner_url, autocommit=True) as conn:
        yield conn


def sealed(app: App, entries: int) -> list[int]:
    """New entries, sealed; answers their ids in the chain's order."""
    for number in range(entries):
        app.rows("INSERT INTO customers (email, name) VALUES (%s, 'Ada')", f"{number}-{app.email()}")
    app.invoke("seal-audit")
    return [entry for (entry,) in app.rows("SELECT entry_id FROM audit_seals ORDER BY position")]


def tamper(owner: Owner, *statements: str) -> None:
    for table in ("booking_audit_log", "audit_seals", "audit_checkpoints"):
        owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
    for statement in statements:
        owner.execute(statement.encode())


def age(owner: Owner, *entries: int, days: int = KEPT_DAYS + 2) -> None:
    """Makes entries old before they are sealed."""
    owner.execute("ALTER TABLE booking_audit_log DISABLE TRIGGER USER")
    owner.execute(
        "UPDATE booking_audit_log SET created_at = now() - %s * interval '1 day' WHERE id = ANY (%s)",
        [days, list(entries)],
    )
    owner.execute("ALTER TABLE booking_audit_log ENABLE TRIGGER USER")


@on_every_postgres
def test_what_was_written_is_sealed_and_fits(app: App, owner: Owner) -> None:
    """In the order of transactions; a second run has nothing to do; each run leaves its row with the head."""
    app.booked(app.slot())
    first = app.invoke("seal-audit")
    assert first["sealed"] == app.count("booking_audit_log") == app.count("audit_seals")
    assert app.invoke("seal-audit") == {"sealed": 0, "removed": 0, "head": first["head"], "more": False}
    app.hold(app.slot())
    last = app.invoke("seal-audit")
    said = verify(owner, first["head"])
    assert said.endswith(f"0 wait for their seal; head {last['head']}")
    assert app.rows("SELECT result ->> 'head' FROM job_runs WHERE job = 'seal-audit' ORDER BY id") == [
        (first["head"],),
        (first["head"],),
        (last["head"],),
    ]


def test_more_than_a_batch_is_sealed_in_one_run(
    app: App, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch after batch, and what time is left for; the chain is the same."""
    monkeypatch.setattr("functions.seal_audit.service.BATCH", 3)
    assert len(sealed(app, 10)) == 10
    assert verify(owner).startswith("10 entries fit, positions 1 to 10")
    app.hold(app.slot())
    assert app.invoke("seal-audit", seconds_left=0) == {"sealed": 0, "removed": 0, "head": "", "more": True}


# What the owner does, with entries 1 to 6 in the chain, and what verification says of it.
TAMPERING: dict[str, tuple[str, str]] = {
    "changed": (
        "UPDATE booking_audit_log SET performed_by = 'nobody' WHERE id = 3",
        "position 3: entry 3 was changed",
    ),
    "values changed": (
        'UPDATE booking_audit_log SET new_values = new_values || \'{"name": "x"}\' WHERE id = 3',
        "position 3: entry 3 was changed",
    ),
    "time changed": (
        "UPDATE booking_audit_log SET created_at = created_at + interval '1 microsecond' WHERE id = 2",
        "position 2: entry 2 was changed",
    ),
    "transaction changed": (
        "UPDATE booking_audit_log SET transaction_id = '7' WHERE id = 4",
        "position 4: entry 4 was changed",
    ),
    "last changed": (
        "UPDATE booking_audit_log SET reason = 'x' WHERE id = 6",
        "position 6: entry 6 or its seal was changed",
    ),
    "missing": ("DELETE FROM booking_audit_log WHERE id = 3", "position 3: entry 3 is missing"),
    "emptied": ("TRUNCATE booking_audit_log", "position 1: entry 1 is missing"),
    "missing with its seal": (
        "DELETE FROM booking_audit_log WHERE id = 3; DELETE FROM audit_seals WHERE entry_id = 3",
        "position 3: its seal is missing",
    ),
    "seal missing": ("DELETE FROM audit_seals WHERE position = 1", "position 1: its seal is missing"),
    "seal changed": (
        "UPDATE audit_seals SET hash = sha256(hash) WHERE position = 3",
        "position 3: the seal of entry 3 was changed",
    ),
    "seals exchanged": (
        """DELETE FROM audit_seals WHERE position = 3; UPDATE audit_seals SET entry_id = 3 WHERE position = 2;
        INSERT INTO audit_seals SELECT 3, 2, sha256(hash) FROM audit_seals WHERE position = 2""",
        "position 2: entry 3 or its seal was changed",
    ),
    "inserted later": (
        """INSERT INTO booking_audit_log (table_name, action_type, performed_by, transaction_id)
        SELECT 'bookings', 'update', 'me', transaction_id FROM booking_audit_log WHERE id = 1""",
        "entry 7 has no seal, and is older than what is sealed: it was inserted later",
    ),
    "end cut off": (
        "DELETE FROM audit_seals WHERE position > 4; DELETE FROM booking_audit_log WHERE id > 4",
        "the chain ends at position 4, and had been sealed up to 6: its end is missing",
    ),
    "all made anew": (
        "UPDATE booking_audit_log SET reason = 'x' WHERE id = 3; TRUNCATE audit_seals; SELECT seal_audit(100)",
        "position 6: the chain was made anew, seal-audit had reported another hash",
    ),
}


@pytest.mark.parametrize("how", TAMPERING)
def test_tampering_by_the_owner_is_found_and_named(app: App, owner: Owner, how: str) -> None:
    """With the triggers turned off, the first row that does not fit is named; before, everything fitted."""
    assert sealed(app, 6) == [1, 2, 3, 4, 5, 6]
    assert verify(owner).startswith("6 entries fit")
    done, said = TAMPERING[how]
    tamper(owner, *done.split(";"))
    with pytest.raises(DoesNotFit) as misfit:
        verify(owner)
    assert str(misfit.value) == said


def test_a_chain_made_anew_with_its_runs_is_found_by_a_head_that_was_kept(app: App, owner: Owner) -> None:
    """Who removes the runs' rows as well does not reach the functions' log."""
    sealed(app, 3)
    head = app.invoke("seal-audit")["head"]
    tamper(
        owner, "DELETE FROM job_runs", "DELETE FROM audit_seals", "DELETE FROM booking_audit_log WHERE id = 2"
    )
    owner.execute("SELECT seal_audit(100)")
    assert verify(owner).startswith("2 entries fit")
    with pytest.raises(DoesNotFit, match="ends at position 2, and had been sealed up to 3"):
        verify(owner, head)


def test_verification_does_not_ask_the_functions_of_the_database(app: App, owner: Owner) -> None:
    """Whose owner has them say what suits: the change is found all the same."""
    sealed(app, 3)
    tamper(owner, "UPDATE booking_audit_log SET reason = 'x' WHERE id = 2")
    owner.execute(
        "CREATE OR REPLACE FUNCTION audit_text(l booking_audit_log) RETURNS text LANGUAGE sql STABLE RETURN 'fine'"
    )
    with pytest.raises(DoesNotFit, match="entry 2 was changed"):
        verify(owner)


# Retention.


def test_what_is_past_its_years_goes_behind_a_checkpoint(app: App, owner: Owner) -> None:
    """Entries and their seals, oldest first; what is left is verified from the checkpoint on, and sealing goes on."""
    app.rows(
        "INSERT INTO customers (email, name) SELECT n || '@example.com', 'Ada' FROM generate_series(1, 6) n"
    )
    age(owner, 1, 2, 3)
    assert app.invoke("seal-audit")["removed"] == 3
    assert app.rows("SELECT id FROM booking_audit_log ORDER BY id") == [(4,), (5,), (6,)]
    assert app.rows("SELECT position FROM audit_checkpoints") == [(3,)]
    assert verify(owner).startswith("3 entries fit, positions 4 to 6")
    assert len(sealed(app, 1)) == 4
    assert verify(owner).startswith("4 entries fit, positions 4 to 7")
    tamper(owner, "UPDATE audit_checkpoints SET hash = sha256(hash)")
    with pytest.raises(DoesNotFit, match="position 4"):
        verify(owner)


def test_all_may_go_and_the_chain_goes_on(app: App, owner: Owner) -> None:
    """From the checkpoint, where nothing else is left."""
    app.rows("INSERT INTO customers (email, name) VALUES ('a@example.com', 'Ada')")
    age(owner, 1)
    assert app.invoke("seal-audit")["removed"] == 1
    assert app.count("audit_seals") == 0
    assert app.invoke("seal-audit")["head"].startswith("1:")
    sealed(app, 2)
    assert verify(owner).startswith("2 entries fit, positions 2 to 3")


def test_what_does_not_fit_is_not_removed(app: App, owner: Owner) -> None:
    """Age does not cover up what was tampered with: removal ends before it, whatever its age."""
    app.set(AUDIT_DAYS="36500")
    app.rows(
        "INSERT INTO customers (email, name) SELECT n || '@example.com', 'Ada' FROM generate_series(1, 4) n"
    )
    age(owner, 1, 2, 3, 4)
    app.invoke("seal-audit")
    tamper(owner, "UPDATE booking_audit_log SET performed_by = 'nobody' WHERE id = 2")
    owner.execute("ALTER TABLE booking_audit_log ENABLE TRIGGER USER")
    app.set(AUDIT_DAYS="2557")
    assert app.invoke("seal-audit")["removed"] == 1
    assert app.invoke("seal-audit")["removed"] == 0
    with pytest.raises(DoesNotFit, match="entry 2 was changed"):
        verify(owner)


def test_nothing_goes_but_what_a_checkpoint_stands_for(app: App, owner: Owner) -> None:
    """And a checkpoint is a copy of a seal, for the owner as well."""
    sealed(app, 3)
    with pytest.raises(errors.CheckViolation):
        owner.execute("INSERT INTO audit_checkpoints (position, hash) VALUES (2, '')")
    for query in ("DELETE FROM booking_audit_log WHERE id = 1", "DELETE FROM audit_seals WHERE position = 1"):
        with pytest.raises(errors.InsufficientPrivilege):
            owner.execute(query.encode())
    owner.execute(
        "INSERT INTO audit_checkpoints (position, hash) SELECT position, hash FROM audit_seals WHERE position = 2"
    )
    for query in (
        "DELETE FROM booking_audit_log WHERE id = 3",
        "DELETE FROM audit_checkpoints",
        "UPDATE audit_seals SET hash = ''",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            owner.execute(query.encode())


def test_too_short_a_retention_stops_the_function(app: App) -> None:
    """A year at least, said at its first call."""
    app.set(AUDIT_DAYS="30")
    with pytest.raises(RuntimeError, match="not configured"):
        app.invoke("seal-audit")


def test_a_database_that_moved_to_another_server_is_sealed_on(app: App, owner: Owner) -> None:
    """Its transactions count from the beginning there: what was left unsealed and what comes after are sealed."""
    app.rows(
        "INSERT INTO customers (email, name) SELECT n || '@example.com', 'Ada' FROM generate_series(1, 4) n"
    )
    owner.execute("ALTER TABLE booking_audit_log DISABLE TRIGGER USER")
    owner.execute("UPDATE booking_audit_log SET transaction_id = '4000000000' WHERE id <= 2")
    owner.execute("ALTER TABLE booking_audit_log ENABLE TRIGGER USER")
    assert app.invoke("seal-audit")["sealed"] == 4
    app.rows("INSERT INTO customers (email, name) VALUES ('b@example.com', 'Ada')")
    assert app.invoke("seal-audit")["sealed"] == 1
    assert verify(owner).startswith("5 entries fit")
