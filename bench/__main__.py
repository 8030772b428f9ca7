"""Measures everything once and says what it found: `python -m bench [--quick] [--only PART]... [--results FOLDER]`."""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import availability, cold, hot_slot, sized, throughput, warm
from bench.figures import Figure
from bench.machine import busy_seconds, cpu_seconds, described, load_average
from bench.report import text_table, write
from bench.stand import ROOT, Stand, open_stand, postgres_version

type Measure = Callable[[Stand], Awaitable[list[Figure]]]
RESULTS = ROOT / "bench" / "results"
BUSY = 0.1  # of the machine, used by others: from here on it shows in the figures
# On a disk that keeps what it was told to: /tmp may be memory.
SCRATCH = Path("/var/tmp")  # noqa: S108 - a private folder is made below it


@dataclass(frozen=True)
class Effort:
    """How much is measured; a full run takes some ten minutes on two cores."""

    warm_calls: int
    slot_rounds: int
    slot_seconds: float
    load_rounds: int
    load_requests: int
    cold_rounds: int
    size: sized.Size
    size_calls: int
    slots: int


FULL = Effort(400, 4, 5, 6, 1000, 8, sized.Size(5_000_000, 500_000, 200_000), 200, 1_000_000)
QUICK = Effort(60, 2, 3, 2, 300, 2, sized.Size(200_000, 20_000, 8_000), 40, 100_000)


def parts(effort: Effort) -> Mapping[str, Measure]:
    """What is measured, by the name that `--only` takes."""
    return {
        "warm": lambda stand: warm.measure(stand, effort.warm_calls),
        "slot": lambda stand: hot_slot.measure(stand, effort.slot_rounds, effort.slot_seconds),
        "load": lambda stand: throughput.measure(stand, effort.load_rounds, effort.load_requests),
        "cold": lambda stand: cold.measure(stand, effort.cold_rounds),
        "size": lambda stand: sized.measure(stand, effort.size, effort.size_calls),
        "slots": lambda stand: availability.measure(stand, effort.slots, effort.size_calls),
    }


def say(what: str) -> None:
    """A line of progress."""
    print(f"bench: {what}", file=sys.stderr, flush=True)


async def run(effort: Effort, wanted: list[str], results: Path | None) -> None:
    """Measures, prints, and writes into the folder."""
    load, began = load_average(), time.monotonic()
    busy, own = busy_seconds(), cpu_seconds(os.getpid())
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(dir=SCRATCH, prefix="holdfast-bench-") as folder:
        async with open_stand(Path(folder)) as stand:
            for name, measure in parts(effort).items():
                if name in wanted:
                    say(f"{name} ... ({time.monotonic() - began:.0f} s so far, load {load_average():.1f})")
                    figures += await measure(stand)
            version = postgres_version(stand)
            own = cpu_seconds(os.getpid()) - own
    elapsed, cores = time.monotonic() - began, os.cpu_count() or 1
    others = max(busy_seconds() - busy - own, 0) / elapsed / cores
    remark = f"The load average was {load:.1f} when it began; other programs used {others:.0%} of the machine meanwhile."
    if others > BUSY:
        remark += " THE MACHINE WAS BUSY: ratios are blurred, times and rates mean nothing."
    print(text_table(figures))
    missed = [figure for figure in figures if not figure.met]
    print(f"\n{remark}\n{len(figures)} figures in {elapsed:.0f} s, {len(missed)} missed")
    if results:
        for file in write(results, {"machine": described(version), "others": remark}, figures):
            print(file.relative_to(ROOT) if file.is_relative_to(ROOT) else file)


def main() -> None:
    """The command line."""
    names = list(parts(QUICK))
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="less of everything, for a look; writes no results"
    )
    parser.add_argument(
        "--only", action="append", choices=names, help="one part, or several; writes no results"
    )
    parser.add_argument(
        "--results", type=Path, help=f"where a run is kept ({RESULTS.relative_to(ROOT)} for a full one)"
    )
    options = parser.parse_args()
    whole = not options.quick and not options.only
    results = options.results or (RESULTS if whole else None)
    asyncio.run(run(QUICK if options.quick else FULL, options.only or names, results))


if __name__ == "__main__":
    main()
