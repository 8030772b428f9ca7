"""What the bench makes of what it has measured."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench.figures import Aim, Figure, Spread, constant
from bench.report import text_table, write

RUN = {
    "machine": {
        "date": "2026-11-21T12:00:00+00:00",
        "cpu": "A processor <of 2026>",
        "cores": 2,
        "memory_gb": 8,
        "system": "Linux 6",
        "python": "3.13.0",
        "postgresql": "18.6 (fsync on)",
    },
    "others": "Nobody else was there.",
}


def figure(ours: float, limit: float, aim: Aim | None, **more: str) -> Figure:
    return Figure("a topic", "a figure", "ms", constant(ours), "a limit", constant(limit), aim, **more)  # pyright: ignore[reportArgumentType] - the rest are texts


def test_percentiles_are_samples_by_nearest_rank() -> None:
    """Of a hundred samples the 50th, the 95th and the 99th, in whatever order they came."""
    assert Spread.of([float(n) for n in reversed(range(1, 101))]) == Spread(50, 95, 99, 100)
    assert Spread.of([7.0]) == Spread(7, 7, 7, 1)


@pytest.mark.parametrize(
    ("aim", "ours", "met"),
    [
        (Aim("at most", 1.5), 1.5, True),
        (Aim("at most", 1.5), 1.504, True),
        (Aim("at most", 1.5), 1.51, False),
        (Aim("at least", 0.6), 0.6, True),
        (Aim("at least", 0.6), 0.59, False),
    ],
)
def test_an_aim_is_met_by_the_ratio_as_it_is_printed(aim: Aim, ours: float, met: bool) -> None:
    assert figure(ours, 1.0, aim).met is met
    assert (aim.share_used(ours) <= 1.005) is met


def test_the_ratio_is_of_the_statistic_that_the_aim_is_about() -> None:
    ours, limit = Spread(1, 8, 9, 100), Spread(1, 4, 9, 100)
    of_medians = Figure("t", "n", "ms", ours, "l", limit, Aim("at most", 1.25))
    of_tails = Figure("t", "n", "ms", ours, "l", limit, Aim("at most", 1.25), statistic="p95")
    assert (of_medians.ratio, of_tails.ratio) == (1, 2)


def test_a_miss_is_printed_with_its_reason_and_a_figure_without_an_aim_misses_nothing() -> None:
    table = text_table([figure(3, 1, Aim("at most", 1.5), why="it waits"), figure(9, 1, None)])
    assert "MISSED: it waits" in table
    assert table.count("MISSED") == 1


def test_a_run_is_kept_as_json_table_and_picture(tmp_path: Path) -> None:
    """With the date and the machine; the picture is well-formed whatever the processor is called."""
    figures = [figure(1, 2, Aim("at most", 1.5)), figure(3, 1, Aim("at most", 1.5), why="it waits")]
    write(tmp_path, RUN, figures)
    kept = json.loads((tmp_path / "bench.json").read_text())
    assert [(f["ratio"], f["met"]) for f in kept["figures"]] == [(0.5, True), (3.0, False)]
    page = (tmp_path / "bench.md").read_text()
    assert "2026-11-21" in page
    assert "| a figure | 3.00 ms |  |  | 1.00 ms |  |  | 3.00 | at most 1.5 | MISSED: it waits |" in page
    picture = ET.fromstring((tmp_path / "bench.svg").read_text())  # noqa: S314 - our own
    bars = [bar for bar in picture.iter("{http://www.w3.org/2000/svg}rect") if bar.get("height") == "13"]
    met, missed = (float(bar.get("width", "0")) for bar in bars)
    assert met < missed
