"""A siege says what is true: it ends well where every promise holds, and names what is broken where one does not."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.child import birth
from tests.emulator_process import eventually
from tests.support.commands import begin, run

SECONDS = 20
PATIENCE_S = 400  # a start, the end and overtime, on a machine that does other things as well

SEATS = """
    ALTER TABLE slots DROP CONSTRAINT slots_never_oversold;
    CREATE OR REPLACE FUNCTION slots_have(p_items jsonb) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT true';
    CREATE OR REPLACE FUNCTION slots_can_take(p_items jsonb) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT true';
"""
KEYS = """
    ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_pkey;
    CREATE OR REPLACE FUNCTION known_answer(p_scope text, p_key text, p_request_hash text, p_reservation_id uuid)
    RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
"""
REFUNDS = """
    CREATE OR REPLACE FUNCTION refund_payment(p_payment_id uuid, p_reason text) RETURNS void LANGUAGE sql AS '';
"""
# Done before it is sent, and not after: what breaks in between is lost.
DELIVERIES = """
    DO $$ BEGIN EXECUTE replace(
        pg_get_functiondef('claim_outbox(integer, interval)'::regprocedure),
        'SET attempts = o.attempts + 1', 'SET status = ''delivered'', attempts = o.attempts + 1'
    ); END $$;
"""
CREDITS = """
    CREATE OR REPLACE FUNCTION spend_credits(p_user_id text, p_credits integer, p_booking_id uuid, p_reason text)
    RETURNS boolean LANGUAGE sql AS 'SELECT true';
"""
SEATS_OF_THE_CANCELLED = """
    CREATE OR REPLACE FUNCTION give_back_seats(p_booking_id uuid) RETURNS void LANGUAGE sql AS '';
"""


def chaos(
    state: Path, *more: str, seconds: float = SECONDS
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """How it ended, and what it reported."""
    ended = run(
        "local.chaos", "--state", state, "--seconds", seconds, "--seed", "test", *more,
        timeout=PATIENCE_S + 2 * seconds,
    )  # fmt: skip
    return ended, json.loads((state / "chaos-report.json").read_text())


def broken(report: dict[str, Any]) -> set[str]:
    return {promise["promise"] for promise in report["promises"] if not promise["held"]}


@pytest.mark.timeout(PATIENCE_S + 3 * SECONDS)
def test_every_promise_holds_under_siege(tmp_path: Path) -> None:
    """Everything is killed and cut for a while: exit status 0, and nothing of the cloud is left."""
    ended, report = chaos(tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert report["held"]
    assert (report["seed"], report["seconds"]) == ("test", SECONDS)
    kills = report["broken_at"]["kills"]
    assert min(kills[what] for what in ("postgres", "stripe_emulator", "whole cloud")) >= 1
    assert sum(sum(batch["cuts"]) for batch in report["broken_at"]["cuts"]) >= SECONDS
    assert not (tmp_path / "chaos/stack.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_siege_that_is_broken_off_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Asked to stop in the middle of it, it ends every process of its cloud, and says so by its exit status."""
    state = tmp_path / "chaos"
    with begin("local.chaos", "--state", tmp_path, "--seconds", 120) as siege:
        assert siege.stdout is not None
        while "buyers at a time" not in siege.stdout.readline():
            assert siege.poll() is None
        processes: dict[str, str] = json.loads((state / "processes.json").read_text())
        siege.send_signal(number)
        assert siege.wait(120) == 130
    eventually(lambda: not [pid for pid, born in processes.items() if birth(int(pid)) == born])
    assert not (state / "stack.json").exists()


@pytest.mark.long
@pytest.mark.parametrize(
    ("sabotage", "seconds", "promise"),
    [
        pytest.param(SEATS, SECONDS, "no seat is sold twice", id="seats"),
        pytest.param(KEYS, SECONDS, "a double click is one hold and one payment", id="keys"),
        pytest.param(REFUNDS, 45, "who has paid is seated or has the money back", id="refunds"),
        pytest.param(
            DELIVERIES, 45, "every booking and every refund is told once, and audited", id="deliveries"
        ),
        pytest.param(CREDITS, SECONDS, "credits are spent once, and the balance is its ledger", id="credits"),
        pytest.param(
            SEATS_OF_THE_CANCELLED,
            45,
            "seats that are given back can be sold again",
            id="seats of the cancelled",
        ),
    ],
)
def test_a_guard_that_is_off_is_found(tmp_path: Path, sabotage: str, seconds: float, promise: str) -> None:
    """With one guard of the database switched off, the siege says which promise is broken; exit status 1."""
    ended, report = chaos(tmp_path, "--sabotage", sabotage, seconds=seconds)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert promise in broken(report), ended.stdout
    assert not report["held"]
