"""Many callers at one moment, each with a connection of its own."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor


def all_at_once[T](acts: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """What each act answered or raised, in their order; all begin together."""
    start = threading.Barrier(len(acts))

    def begin(act: Callable[[], T]) -> T | Exception:
        start.wait()
        try:
            return act()
        except Exception as raised:
            return raised

    with ThreadPoolExecutor(max_workers=len(acts)) as pool:
        return list(pool.map(begin, acts))


def at_once[T](callers: int, act: Callable[[int], T]) -> list[T | Exception]:
    """The same for one act, which is told the caller's number."""
    return all_at_once([lambda number=number: act(number) for number in range(callers)])
