"""A measure and the limit that it is held against, taken in the same run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

type Statistic = Literal["p50", "p95"]


@dataclass(frozen=True)
class Spread:
    """How samples are spread; all in one unit."""

    p50: float
    p95: float
    p99: float
    count: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        """Percentiles by nearest rank: each of them is a sample."""
        ordered = sorted(samples)

        def percentile(share: float) -> float:
            return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]

        return cls(percentile(0.50), percentile(0.95), percentile(0.99), len(ordered))


@dataclass(frozen=True)
class Aim:
    """How the ratio of a measure to its limit shall be."""

    how: Literal["at most", "at least"]
    ratio: float

    def met_by(self, ratio: float) -> bool:
        """Whether this ratio is good enough, as precisely as it is printed."""
        rounded = round(ratio, 2)
        return rounded <= self.ratio if self.how == "at most" else rounded >= self.ratio

    def share_used(self, ratio: float) -> float:
        """How much of what is allowed the ratio uses up: 1 is just met, more is missed."""
        if self.how == "at most":
            return ratio / self.ratio
        return self.ratio / ratio if ratio else math.inf


@dataclass(frozen=True)
class Figure:
    """One line of the table. `why` is printed where the aim is missed; without an aim it is for information."""

    topic: str
    name: str
    unit: str
    ours: Spread
    against: str
    limit: Spread
    aim: Aim | None
    statistic: Statistic = "p50"
    note: str = ""
    why: str = ""

    @property
    def ratio(self) -> float:
        """Ours to the limit's, in the statistic that the aim is about."""
        return getattr(self.ours, self.statistic) / getattr(self.limit, self.statistic)

    @property
    def met(self) -> bool:
        """Whether the aim is met; a figure without one misses nothing."""
        return self.aim is None or self.aim.met_by(self.ratio)

    @property
    def verdict(self) -> str:
        """In one word; a miss brings its reason."""
        if self.aim is None:
            return "-"
        return "met" if self.met else f"MISSED{': ' + self.why if self.why else ''}"


def constant(value: float) -> Spread:
    """A limit that is no measure but a number."""
    return Spread(value, value, value, 1)
