"""How much of its aim each figure uses up, as bars: one that crosses the line has missed."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bench.figures import Figure

ROW, BAR = 20, 13
LABELS, WIDTH = 330, 900
FULL = 420  # how long a bar is that uses up exactly what is allowed
LONGEST = WIDTH - LABELS - 70
MET, MISSED, INK, FAINT = "#2f7d5b", "#c2452d", "#222222", "#777777"


def svg(run: Mapping[str, Any], figures: Sequence[Figure]) -> str:
    """The picture; figures without an aim are not in it."""
    machine = run["machine"]
    rows: list[str] = []
    topic, y = "", 62
    for figure in figures:
        if figure.aim is None:
            continue
        if figure.topic != topic:
            topic = figure.topic
            y += 10
            rows.append(_text(12, y + BAR - 2, topic, weight="bold"))
            y += ROW
        share = figure.aim.share_used(figure.ratio)
        length = min(share * FULL, LONGEST)
        colour = MET if figure.met else MISSED
        rows += [
            _text(24, y + BAR - 2, figure.name),
            f'<rect x="{LABELS}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>',
            _text(
                LABELS + length + 6,
                y + BAR - 2,
                f"{figure.ratio:.2f} ({figure.aim.how} {figure.aim.ratio:g})",
                FAINT,
            ),
        ]
        y += ROW
    line = LABELS + FULL
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + 60}" height="{y + 16}" '
                f'font-family="sans-serif" font-size="12" role="img" aria-label="Figures against their aims">'
            ),
            '<rect width="100%" height="100%" fill="white"/>',
            _text(12, 22, "How much of each aim is used up: past the line is missed", weight="bold"),
            _text(
                12,
                40,
                f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, PostgreSQL {machine['postgresql'].split()[0]}",
                FAINT,
            ),
            *rows,
            f'<line x1="{line}" y1="52" x2="{line}" y2="{y}" stroke="{INK}" stroke-dasharray="3 3"/>',
            "</svg>\n",
        ]
    )


def _text(x: float, y: float, content: str, colour: str = INK, *, weight: str = "normal") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" fill="{colour}" font-weight="{weight}">{escape(content)}</text>'
