"""Limits of time, as a caller feels them."""

import time
from collections.abc import Callable

TRIES = 3


def within[T](seconds: float, act: Callable[[], T], again: Callable[[], object] = lambda: None) -> T:
    """What an act answers in less than so many seconds; `again` comes before each try.

    A busy machine may keep it waiting, but not three times.
    """
    took: list[float] = []
    while len(took) < TRIES:
        again()
        began = time.monotonic()
        answer = act()
        took.append(time.monotonic() - began)
        if took[-1] < seconds:
            return answer
    raise AssertionError(f"took {took} s, each time {seconds} or more")
