"""A run as people and programs read it: a table, JSON, and a picture."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.figures import Figure, Spread
from bench.plot import svg

HEADINGS = ("figure", "p50", "p95", "p99", "limit: p50", "p95", "p99", "ratio", "aim", "verdict")


def cells(figure: Figure) -> tuple[str, ...]:
    """One line of the table."""
    aim = figure.aim
    return (
        figure.name,
        *_spread(figure.ours, figure.unit),
        *_spread(figure.limit, figure.unit),
        f"{figure.ratio:.2f}{' of p95' if figure.statistic == 'p95' else ''}",
        f"{aim.how} {aim.ratio:g}" if aim else "-",
        figure.verdict,
    )


def _spread(spread: Spread, unit: str) -> tuple[str, str, str]:
    def number(value: float) -> str:
        return f"{value:.0f}" if value >= 100 else f"{value:.2f}"

    if spread.count == 1:
        return (f"{number(spread.p50)} {unit}", "", "")
    return (f"{number(spread.p50)} {unit}", number(spread.p95), number(spread.p99))


def topics(figures: Sequence[Figure]) -> Mapping[tuple[str, str], list[Figure]]:
    """The figures by topic and by what they are held against, in their order."""
    found: dict[tuple[str, str], list[Figure]] = {}
    for figure in figures:
        found.setdefault((figure.topic, figure.against), []).append(figure)
    return found


def text_table(figures: Sequence[Figure]) -> str:
    """For a terminal."""
    rows = [HEADINGS, *(cells(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS) - 1)]
    lines: list[str] = []
    for (topic, against), members in topics(figures).items():
        lines += ["", f"{topic} - against {against}"]
        for row in (HEADINGS, *(cells(figure) for figure in members)):
            padded = [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:], strict=True)),
            ]
            lines.append("  " + "  ".join([*padded, row[-1]]).rstrip())
    return "\n".join(lines).lstrip("\n")


def markdown(run: Mapping[str, Any], figures: Sequence[Figure], picture: str) -> str:
    """The page that is kept."""
    machine = run["machine"]
    lines = [
        "# What it costs",
        "",
        (
            f"`make bench` on {machine['date']}: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
            f"{machine['system']}; Python {machine['python']}, PostgreSQL {machine['postgresql']}."
        ),
        "",
        run["others"],
        "",
        (
            "Each figure stands beside its limit, taken in turn with it in the same run; the ratio is of their medians "
            "unless it says p95. Times are in milliseconds where nothing else is said."
        ),
        "",
        f"![How much of each aim is used up]({picture})",
    ]
    for (topic, against), members in topics(figures).items():
        lines += ["", f"## {topic[0].upper()}{topic[1:]}", "", f"Against {against}.", ""]
        lines += [f"| {' | '.join(HEADINGS)} |", f"|---|{'--:|' * (len(HEADINGS) - 2)}---|"]
        lines += [f"| {' | '.join(cells(figure))} |" for figure in members]
        notes = list(dict.fromkeys(f"{figure.name}: {figure.note}" for figure in members if figure.note))
        lines += ["", *(f"- {note}" for note in notes)] if notes else []
    return "\n".join(lines) + "\n"


def write(folder: Path, run: Mapping[str, Any], figures: Sequence[Figure]) -> list[Path]:
    """Writes bench.json, bench.md and bench.svg into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    described = [
        asdict(figure) | {"ratio": figure.ratio, "met": figure.met if figure.aim else None}
        for figure in figures
    ]
    contents = {
        "bench.json": json.dumps({**run, "figures": described}, indent=1) + "\n",
        "bench.md": markdown(run, figures, "bench.svg"),
        "bench.svg": svg(run, figures),
    }
    for name, content in contents.items():
        (folder / name).write_text(content)
    return [folder / name for name in contents]
