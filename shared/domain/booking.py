"""What becomes of a booking that its customer no longer wants."""

import re
from itertools import pairwise

STEP = re.compile(r"(\d{1,4})h:(\d{1,3})%", re.ASCII)
ALL = 100

type CancelPolicy = tuple[tuple[int, int], ...]
"""Pairs of hours and percent: who cancels that many hours before the start, or earlier, gets that share back."""


class WrongCancelPolicy(ValueError):
    """Not like `48h:100%,24h:50%`: hours and shares, both falling."""


def parse_cancel_policy(text: str) -> CancelPolicy:
    """`48h:100%,24h:50%`: all until 48 hours before the start, half until 24, then nothing.

    Raises `WrongCancelPolicy` for anything else, and for shares that would grow towards the start.
    """
    found = [STEP.fullmatch(step.strip()) for step in text.split(",")]
    steps = tuple((int(step[1]), int(step[2])) for step in found if step)
    if len(steps) < len(found) or steps[0][1] > ALL:
        raise WrongCancelPolicy(WrongCancelPolicy.__doc__)
    for (hours, percent), (later_hours, later_percent) in pairwise(steps):
        if later_hours >= hours or later_percent >= percent:
            raise WrongCancelPolicy(WrongCancelPolicy.__doc__)
    return steps
