"""The simulation as a program: it finds holes, shows how to meet them again, and leaves nothing behind."""

import json
import signal
import time
from pathlib import Path

import pytest

from local.state import State
from tests.support.commands import begin, run

PROGRAM = "local.simulation"
PATIENCE_S = 900.0  # with a message whose function died, which its queue hides for five minutes
START_PATIENCE_S = 120.0

pytestmark = pytest.mark.timeout(PATIENCE_S + 60)


def test_two_hundred_steps_break_no_promise(tmp_path: Path) -> None:
    """Whatever the steps of a fixed seed come to, every promise holds; and the report says how much was tried."""
    simulation = run(PROGRAM, "--state", tmp_path, "--seed", "suite", "--steps", 200, timeout=PATIENCE_S)

    report = json.loads((tmp_path / "simulation-report.json").read_text())
    assert simulation.returncode == 0, simulation.stdout + simulation.stderr
    assert report["steps"] >= 200
    assert report["violations"] == 0


def test_a_hole_is_found(tmp_path: Path) -> None:
    """Where seats are held without being counted first, the simulation says so within a hundred steps."""
    guard = "counted before more is held"
    simulation = run(
        PROGRAM, "--state", tmp_path, "--guards", "--only", guard, "--seed", "suite", timeout=PATIENCE_S
    )

    (row,) = json.loads((tmp_path / "simulation-guards.json").read_text())["guards"]
    assert simulation.returncode == 0, simulation.stdout + simulation.stderr
    assert row["broken"].startswith("slot sells what it has")
    assert row["steps"] <= 100


def test_an_interrupted_simulation_leaves_no_process(tmp_path: Path) -> None:
    """Ctrl-C in the middle of it takes the whole cloud down."""
    simulation = begin(PROGRAM, "--state", tmp_path, "--seed", "suite", "--seconds", 600)
    state = State(tmp_path / "simulation")
    give_up_at = time.monotonic() + START_PATIENCE_S
    while state.stack() is None:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    processes = state.processes()

    simulation.send_signal(signal.SIGINT)
    said, _ = simulation.communicate(timeout=120)

    assert simulation.returncode == 130, said
    assert processes
    assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_every_hole_is_found(tmp_path: Path) -> None:
    """Each guard that is switched off in turn is missed within some thousand steps."""
    simulation = run(PROGRAM, "--state", tmp_path, "--guards", "--seed", "suite", timeout=7200)

    assert simulation.returncode == 0, simulation.stdout + simulation.stderr
