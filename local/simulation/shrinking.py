"""A failing list of steps made short: delta debugging (Zeller and Hildebrandt 2002, ddmin), bounded in time."""

from collections.abc import Awaitable, Callable, Sequence

type Fails[T] = Callable[[Sequence[T]], Awaitable[bool]]


async def shrink[T](steps: Sequence[T], fails: Fails[T], is_over: Callable[[], bool]) -> Sequence[T]:
    """A part of `steps` that still fails, of which no single step can be left out unless the time `is_over`."""
    parts = 2
    while len(steps) > 1 and not is_over():
        size = -(-len(steps) // parts)
        for start in range(0, len(steps), size):
            shorter = [*steps[:start], *steps[start + size :]]
            if is_over():
                return steps
            if shorter and await fails(shorter):
                steps, parts = shorter, max(parts - 1, 2)
                break
        else:
            if parts >= len(steps):
                return steps
            parts = min(parts * 2, len(steps))
    return steps
