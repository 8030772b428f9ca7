"""`make simulate`: random interleavings of all that can happen, run after run; a failing one is made short and shown.

Exit status 0 if every promise held (with --guards: if every hole was found), 1 if not, 130 when interrupted.
"""

import argparse
import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from local.child import free_port
from local.ending import exit_status
from local.simulation.guard import Guard, without
from local.simulation.guards import GUARDS
from local.simulation.making import make_steps
from local.simulation.report import Tally, figures, print_failure, print_table, say, write_json
from local.simulation.runs import Run, simulate
from local.simulation.shrinking import shrink
from local.simulation.stage import simulated_cloud, world_of
from local.simulation.steps import Step
from local.simulation.world import World

SECONDS = 120.0
STEPS_A_RUN = 60
SHRINKS_FOR_S = 120.0
REPEATS = 3
GUARD_RUNS = 120
GUARD_SECONDS = 600.0


def main() -> int:
    """Returns the exit status."""
    arguments = _parser().parse_args()
    folder = Path(arguments.state).resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    replayed: dict[str, Any] = json.loads(Path(arguments.replay).read_text()) if arguments.replay else {}
    port = free_port()
    with simulated_cloud(folder / "simulation", port) as cloud:

        async def play() -> bool:
            async with world_of(cloud, port) as world:
                if arguments.guards:
                    return await _find_holes(world, arguments.seed, folder, arguments.only)
                if replayed:
                    return await _replay(world, replayed)
                return await _simulate(world, arguments, folder)

        return 0 if asyncio.run(play()) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.simulation", description=__doc__)
    given = os.environ.get
    parser.add_argument(
        "--seed", default=given("SEED") or secrets.token_hex(3), help="makes the steps (SEED)"
    )
    parser.add_argument(
        "--steps", type=int, default=int(given("STEPS") or 0), help="how many at least (STEPS)"
    )
    parser.add_argument(
        "--seconds", type=float, default=float(given("SECONDS") or SECONDS),
        help="how long, where no number of steps is given (SECONDS, %(default).0f)",
    )  # fmt: skip
    parser.add_argument("--replay", default=given("REPLAY"), help="do the steps of this file again (REPLAY)")
    parser.add_argument(
        "--guards", action="store_true", default=bool(given("GUARDS")),
        help="switch guards off, one after the other: each hole has to be found (GUARDS=1)",
    )  # fmt: skip
    parser.add_argument(
        "--only", default="", help="with --guards: those whose name has one of these, by commas, in it"
    )
    parser.add_argument("--state", default=given("STATE") or ".local", help="where the cloud lives (STATE)")
    return parser


async def _simulate(world: World, arguments: argparse.Namespace, folder: Path) -> bool:
    tally = Tally(arguments.seed)
    say(tally, f"seed {tally.seed} (make simulate SEED={tally.seed} makes the same steps again)")
    while not tally.broken and (
        tally.steps < arguments.steps if arguments.steps else tally.seconds < arguments.seconds
    ):
        seed = f"{tally.seed}:{tally.runs}"
        tally.add(await simulate(world, seed, make_steps(seed, STEPS_A_RUN)))
        tally.tell(world)
    found = figures(tally, world)
    print_table(found)
    for run in tally.broken:
        await _show(world, run, folder, tally)
    file = folder / "simulation-report.json"
    write_json(file, found | {"broken": [run.broken for run in tally.broken]})
    say(tally, f"{'a promise is BROKEN' if tally.broken else 'every promise held'}; {file}")
    return not tally.broken


async def _show(world: World, run: Run, folder: Path, tally: Tally) -> None:
    """The failing steps, fewer of them, and how often those fail again."""
    say(tally, f"broken: {run.broken[0]}; looking for fewer steps that break it ...")
    over_at = time.monotonic() + SHRINKS_FOR_S

    async def fails(steps: Sequence[Step]) -> bool:
        again = await simulate(world, run.seed, steps)
        return bool(again.promises & run.promises)

    shrunk = await shrink(run.steps, fails, lambda: time.monotonic() > over_at)
    times = sum([await fails(shrunk) for _ in range(REPEATS)])
    file = folder / f"simulation-{run.seed.replace(':', '-')}.json"
    write_json(file, {"seed": run.seed, "broken": run.broken, "steps": shrunk, "all_steps": run.steps})
    print_failure(run, shrunk, file, f"{times} of {REPEATS} times")


async def _replay(world: World, document: dict[str, Any]) -> bool:
    run = await simulate(
        world, document["seed"], document["steps"], lambda step: print(json.dumps(step), flush=True)
    )
    for text in run.broken or ["every promise held"]:
        print(text)
    return not run.broken


async def _find_holes(world: World, seed: str, folder: Path, only: str) -> bool:
    """Each guard off in turn, until something is found to be broken."""
    found: list[dict[str, object]] = []
    print(f"{'guard that is off':<58}{'steps':>7}{'runs':>6}  what was found", flush=True)
    for guard in [guard for guard in GUARDS if any(part in guard.name for part in only.split(","))]:
        row = await _find_hole(world, guard, seed)
        found.append(row)
        print(f"{guard.name:<58}{row['steps']:>7}{row['runs']:>6}  {row['broken'] or 'NOTHING'}", flush=True)
    write_json(folder / "simulation-guards.json", {"seed": seed, "guards": found})
    missed = sum(not row["broken"] for row in found)
    print(f"{len(found) - missed} of {len(found)} holes were found (seed {seed})")
    return not missed


async def _find_hole(world: World, guard: Guard, seed: str) -> dict[str, object]:
    tally = Tally(seed)
    with without(guard, world.database.database_admin_url):
        while not tally.broken and tally.runs < GUARD_RUNS and tally.seconds < GUARD_SECONDS:
            name = f"{seed}:{tally.runs}"
            tally.add(await simulate(world, name, make_steps(name, STEPS_A_RUN)))
        await world.database.wipe()
    return {
        "guard": guard.name,
        "steps": tally.steps,
        "runs": tally.runs,
        "seconds": round(tally.seconds, 1),
        "broken": tally.broken[0].broken[0][:90] if tally.broken else "",
    }


if __name__ == "__main__":
    sys.exit(exit_status(main))
