"""What `make sam-local` says while it works: one line a step."""

import time
from collections.abc import Generator
from contextlib import contextmanager


def say(text: str) -> None:
    """One line."""
    print(f"sam-local: {text}", flush=True)


@contextmanager
def step(name: str) -> Generator[None]:
    """A line once the step is done, with the time that it took."""
    began = time.monotonic()
    yield
    say(f"{name}: {time.monotonic() - began:.1f} s")
