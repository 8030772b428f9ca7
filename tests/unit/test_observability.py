"""What an invocation counts, whoever of its threads counts it."""

import sys
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import pytest

from runtime.observability import count, invocation
from tests.support.lambda_events import Context
from tests.support.logs import Logs

THREADS, EACH = 8, 300


@pytest.fixture
def threads_change_often() -> Generator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("threads_change_often")
def test_threads_that_count_at_once_lose_nothing_and_fail_nowhere(logs: Logs) -> None:
    """More than the hundred values that are written at once, of names that are new to each batch."""

    def work(thread: int) -> None:
        for number in range(EACH):
            count("Done")
            count(f"Done{(thread + number) % 5}")

    with invocation(Context()), ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))

    told = Counter[str]()
    for line in logs.metrics():
        told.update({name: len(values) for name, values in line.items() if name.startswith("Done")})
    assert told.pop("Done") == told.total() == THREADS * EACH
