"""The simulation's own rules: steps made by a seed alone, made fewer where they fail, and network where a step says."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from local.breakage.kills import named_kill_points
from local.breakage.wire import Batch
from local.lambda_runtime.blueprint import SHIFTED_CLOCK
from local.lambda_runtime.shifted_clock import Clock
from local.simulation.making import make_steps
from local.simulation.network import StepNetwork
from local.simulation.shrinking import shrink
from local.simulation.steps import DIES_AT, size_of


def test_a_seed_makes_the_same_steps_again() -> None:
    """And another seed makes others."""
    assert make_steps("seed:1", 200) == make_steps("seed:1", 200)
    assert make_steps("seed:1", 200) != make_steps("seed:2", 200)


def test_everything_that_can_happen_happens() -> None:
    """Twenty thousand steps have every kind of act, alone or at once with others, and every way to break it."""
    steps = [act for step in make_steps("kinds", 20_000) for act in (step, *step.get("steps", ()))]
    kinds = {step["do"] for step in steps}
    deaths = {point for step in steps for point in step.get("dies", ())}

    assert kinds >= {
        *("hold", "hold again", "pay", "confirm", "cancel", "deliver", "drop", "cleanup", "outbox", "reconcile"),
        *("replay", "expire", "wait", "refund", "end refund", "dispute", "decide", "settle", "second intent"),
        *("end by force", "clock", "begin", "restart", "at once"),
        *("book", "show booking", "cancel booking", "move", "refund booking"),
        *("grant", "credits expire", "schedule", "capacity", "price"),
    }  # fmt: skip
    assert deaths == set(named_kill_points())
    assert any("cut" in step for step in steps)
    assert {step["stripe"][0] for step in steps if "stripe" in step} == {
        *("timeout before", "timeout after", "429", "500")
    }
    assert size_of(make_steps("kinds", 20_000)) > 20_000


def test_somebody_may_die_at_every_kill_point() -> None:
    """A kill point that no step's act comes past would never be tried."""
    tried = {beginning for beginnings in DIES_AT.values() for beginning in beginnings}

    assert {point.partition(".")[0] for point in named_kill_points()} <= tried


async def _shrunk(steps: Sequence[int], *needed: int, patience: int = 1000) -> tuple[Sequence[int], int]:
    tried = 0

    async def fails(part: Sequence[int]) -> bool:
        nonlocal tried
        tried += 1
        return set(needed) <= set(part)

    return await shrink(steps, fails, lambda: tried >= patience), tried


def test_only_the_steps_that_it_takes_are_left() -> None:
    """Three of sixty make it fail: those three are left, in their order."""
    shrunk, tried = asyncio.run(_shrunk(range(60), 7, 31, 58))

    assert list(shrunk) == [7, 31, 58]
    assert tried < 200


def test_looking_for_fewer_steps_ends_in_time() -> None:
    """What is left when the time is over still fails."""
    shrunk, tried = asyncio.run(_shrunk(range(60), 7, 31, 58, patience=5))

    assert {7, 31, 58} <= set(shrunk)
    assert tried <= 5


def test_one_connection_is_cut_where_its_step_says() -> None:
    """The second batch, half way; and none after that."""
    network = StepNetwork()
    batch = Batch(("BEGIN", "claim", "Sync"), (b"1", b"2", b"3"))

    network.armed = (1, 0.5)

    assert [network.boundary(batch) for _ in range(4)] == [None, 2, None, None]


def test_a_clock_is_off_by_what_the_file_says(tmp_path: Path) -> None:
    """Both ways, and right again."""
    file = tmp_path / "shift"
    clock = Clock(file)
    off: list[float] = []
    for seconds in ("3600", "-86400", "0"):
        file.write_text(seconds)
        clock.adjust()
        told, monotonic = time.time(), time.monotonic()
        file.write_text("0")
        clock.adjust()
        off.append(told - time.time())
        assert time.monotonic() - monotonic < 60

    assert off == pytest.approx([3600, -86400, 0], abs=60)


def test_no_clock_is_set_off_outside_the_local_stack(tmp_path: Path) -> None:
    """The program that does it refuses to begin."""
    done = subprocess.run(
        [sys.executable, str(SHIFTED_CLOCK), "handler"],
        env={"ENVIRONMENT": "production", "CLOCK_SHIFT_FILE": str(tmp_path / "shift")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "in the local stack alone" in done.stderr
