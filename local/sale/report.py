"""The table, the summary, and the same as JSON."""

import json
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from local.sale.evidence import Finding
from local.sale.programme import Programme
from local.sale.sale import Sale
from local.sale.stage import Stage

WIDTH = 116
WITNESSES = (("database", "the database"), ("stripe", "Stripe"), ("buyers", "the buyers"))


@dataclass(frozen=True)
class Invocations:
    """How often each function ran, how often it was started first, and how runs ended that did not succeed."""

    by_function: Counter[str] = field(default_factory=Counter[str])
    cold_starts: Counter[str] = field(default_factory=Counter[str])
    failures: Counter[str] = field(default_factory=Counter[str])

    @classmethod
    def told_by(cls, logs: Path) -> "Invocations":
        """By the platform's reports; a killed cloud makes none of what it was at."""
        runs = cls()
        for file in sorted(logs.glob("*.jsonl")):
            for line in file.read_text(errors="replace").splitlines():
                if '"platform.report"' in line:
                    report = json.loads(line)
                    runs.by_function[file.stem] += 1
                    runs.cold_starts[file.stem] += bool(report["cold"])
                    if report["status"] != "success":
                        runs.failures[report["status"]] += 1
        return runs


def close(
    programme: Programme, file: Path, found: Sequence[Finding], summary: Mapping[str, Any], **more: object
) -> int:
    """Prints what was found and writes it down, with what else is to be known; the exit status: 1 for a broken promise."""
    _print_table(found)
    _print_summary(summary)
    _write_report(file, found, summary=summary, scenes=programme.scenes, **more)
    broken = sum(not each.held for each in found)
    verdict = f"{broken} of {len(found)} promises BROKEN" if broken else f"all {len(found)} promises held"
    programme.say(f"{verdict}; {file}")
    return 1 if broken else 0


def _print_table(found: Sequence[Finding]) -> None:
    """One promise after the other: verdict, figure, and what each witness says."""
    print(f"\n{'':8}{'promise':<70}figure\n{'-' * WIDTH}")
    for each in found:
        print(f"{'held' if each.held else 'BROKEN':<8}{each.promise:<70}{each.figure}")
        for name, witness in WITNESSES:
            if said := getattr(each, name):
                _print_indented(said, f"{'':8}{witness:<14}", 22)
    print("-" * WIDTH)


def classes(sale: Sale) -> dict[str, Any]:
    """What became of the members' visits."""
    told = [member for member in sale.members if member.booking]
    cancelled = sum(member.booking["status"] == "cancelled" for member in told)
    return {
        "classes booked / moved / cancelled": f"{len(told)} / {sum(member.moves for member in told)} / {cancelled}"
    }


def broken_by(stage: Stage) -> dict[str, Any]:
    """What was killed, and how often the network was cut."""
    return {
        "killed -9": ", ".join(f"{count} {what}" for what, count in stage.kills.counts.most_common()),
        "connections to the database cut": stage.cuts.cuts.total(),
    }


def run_by(runs: Invocations) -> dict[str, Any]:
    """How often the functions ran."""
    failures = ", ".join(f"{count} {what}" for what, count in runs.failures.most_common())
    return {
        "invocations / cold starts": f"{runs.by_function.total()} / {runs.cold_starts.total()}",
        "invocations that died": failures or "none",
    }


def _print_summary(summary: Mapping[str, Any]) -> None:
    """One figure a line."""
    for name, figure in summary.items():
        _print_indented(str(figure), f"{name:<50}", 50)


def _write_report(file: Path, found: Sequence[Finding], **more: object) -> None:
    """The report as JSON, whole or not at all."""
    document = {
        "held": all(each.held for each in found),
        **more,
        "promises": [asdict(each) for each in found],
    }
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(document, indent=2) + "\n")
    unfinished.replace(file)


def _print_indented(text: str, first: str, indent: int) -> None:
    print(textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=" " * indent))
