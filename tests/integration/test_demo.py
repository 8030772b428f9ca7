"""The demo says what is true: it ends well where every promise holds, and badly where one does not."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import run

SECONDS = 400  # half a minute where nothing else runs
# The check that a slot has room, and the constraint that stands behind it: off for the one chair.
SEATS = """
ALTER TABLE slots DROP CONSTRAINT slots_never_oversold;
CREATE OR REPLACE FUNCTION slots_have(p_items jsonb) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT bool_and(s.max_units = 1 OR s.max_units - s.held_units - s.sold_units >= (w ->> 'units')::integer)
    FROM jsonb_array_elements(p_items) w JOIN slots s ON s.id = (w ->> 'slot_id')::uuid
$$;
CREATE OR REPLACE FUNCTION slots_can_take(p_items jsonb) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT slots_have(p_items)
$$;
"""
# Credits are not taken, and not given back; a cancelled booking keeps its seats, and a moved one is paid back in full;
# a slot that its schedule has left can be held.
STUDIO = """
CREATE OR REPLACE FUNCTION spend_credits(p_user_id text, p_credits integer, p_booking_id uuid, p_reason text)
RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OR REPLACE FUNCTION return_credits(p_booking_id uuid, p_credits integer, p_reason text)
RETURNS void LANGUAGE sql AS '';
CREATE OR REPLACE FUNCTION give_back_seats(p_booking_id uuid) RETURNS void LANGUAGE sql AS '';
CREATE OR REPLACE FUNCTION refund_percent(p_booking bookings, p_policy jsonb) RETURNS integer
LANGUAGE sql AS 'SELECT 100';
DO $$ BEGIN EXECUTE replace(
    pg_get_functiondef('reserve_tickets'::regproc), 's.is_legacy OR ', ''); END $$;
"""
NEWLY_BROKEN = {
    "credits are spent once, and the balance is its ledger",
    "a cancelled booking gives back what its policy says",
    "seats that are given back can be sold again",
    "a slot that its schedule has left sells no more",
    "who cancels gets back what the page had said",
    "no member's credits are spent twice, or lost",
}


def demo(state: Path, *more: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """The demo with a small crowd: how it ended and what it reported."""
    ended = run("local.demo", "--state", state, "--buyers", 60, "--seed", "test", *more, timeout=SECONDS)
    return ended, json.loads((state / "demo-report.json").read_text())


@pytest.mark.timeout(SECONDS + 60)
def test_every_promise_holds(tmp_path: Path) -> None:
    """The show is sold out, every promise held; exit status 0, and nothing of the cloud is left."""
    ended, report = demo(tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert report["held"]
    assert report["seed"] == "test"
    assert all(promise["held"] for promise in report["promises"])
    assert not (tmp_path / "demo/stack.json").exists()


@pytest.mark.timeout(SECONDS + 60)
def test_a_broken_promise_is_told(tmp_path: Path) -> None:
    """With the guards of seats, credits, cancellations and schedules switched off, each is seen; exit status 1."""
    ended, report = demo(tmp_path, "--sabotage", SEATS + STUDIO)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    broken = {promise["promise"] for promise in report["promises"] if not promise["held"]}
    assert broken >= {"no seat is sold twice", "the invariants hold"} | NEWLY_BROKEN, ended.stdout
    assert not report["held"]
