"""What a simulation says while it runs and when it is over: lines, a closing table, and the same as JSON."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from local.breakage.kills import named_kill_points
from local.simulation.runs import Run
from local.simulation.world import World

TELLS_EVERY_S = 5.0
WIDTH = 100


@dataclass
class Tally:
    """All runs so far."""

    seed: str
    began: float = field(default_factory=time.monotonic)
    runs: int = 0
    steps: int = 0
    broken: list[Run] = field(default_factory=list[Run])
    _told_at: float = 0.0

    def add(self, run: Run) -> None:
        """One more run."""
        self.runs += 1
        self.steps += run.done
        if run.broken:
            self.broken.append(run)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.began

    def tell(self, world: World, *, now: bool = False) -> None:
        """A line of progress every so often."""
        if not now and self.seconds < self._told_at + TELLS_EVERY_S:
            return
        self._told_at = self.seconds
        say(
            self,
            f"{self.runs} runs, {self.steps} steps ({self.steps / self.seconds:.0f}/s), {world.deaths.total()} deaths,"
            f" {world.network.cuts.total()} cuts, {world.stripe.struck.total()} faults, {len(self.broken)} violations",
        )


def say(tally: Tally, text: str) -> None:
    """One line with the seconds since the beginning."""
    print(f"{tally.seconds:7.1f} s  {text}", flush=True)


def figures(tally: Tally, world: World) -> dict[str, Any]:
    """What was done and what was broken on purpose."""
    points = named_kill_points()
    return {
        "seed": tally.seed,
        "seconds": round(tally.seconds, 1),
        "runs": tally.runs,
        "steps": tally.steps,
        "by kind": dict(world.counts.most_common()),
        "deaths at kill points": dict(world.deaths.most_common()),
        "kill points reached": f"{len(set(world.deaths) & set(points))} of {len(points)}",
        "database restarts": world.counts["restart"],
        "connections cut": world.network.cuts.total(),
        "Stripe faults": dict(world.stripe.struck.most_common()),
        "clock jumps": world.counts["clock"],
        "answers": dict(sorted(world.answers.items())),
        "violations": len(tally.broken),
    }


def print_table(found: dict[str, Any]) -> None:
    """One figure a line."""
    print("-" * WIDTH)
    for name, figure in found.items():
        if isinstance(figure, dict):
            told = Counter(cast("dict[str, int]", figure))
            print(f"{name:<24}{told.total()}")
            for what, count in told.items():
                print(f"{'':24}{what:<46}{count:>8}")
        else:
            print(f"{name:<24}{figure}")
    print("-" * WIDTH)


def write_json(file: Path, document: object) -> None:
    """The document, whole or not at all."""
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(document, indent=1) + "\n")
    unfinished.replace(file)


def print_failure(run: Run, shrunk: Sequence[object], file: Path, repeats: str) -> None:
    """A broken promise, and how to meet it again."""
    print(f"\nBROKEN in run {run.seed} after {run.done} steps:")
    for text in run.broken[:8]:
        print(f"  {text}")
    print(f"{len(shrunk)} steps of it are enough ({repeats}), in {file}:")
    for step in shrunk:
        print(f"  {json.dumps(step)}")
    print(f"repeat them: make simulate REPLAY={file}\n")
