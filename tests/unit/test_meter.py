"""What an invocation spends on its own, and what is Stripe's."""

import threading

import pytest

from domain import meter as meters
from domain.meter import begin_meter, meter


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(meters, "time", clock)
    return clock


def test_waiting_for_stripe_is_not_own_time(clock: Clock) -> None:
    spent = begin_meter()
    clock.now += 0.010
    with meter().waiting():
        clock.now += 2
    clock.now += 0.005
    assert spent.own_ms() == pytest.approx(15)


def test_several_threads_wait_once(clock: Clock) -> None:
    """From when the first begins to when the last has its answer."""
    spent = begin_meter()
    with spent.waiting():
        clock.now += 1
        other = spent.waiting()
        other.__enter__()
        clock.now += 1
    clock.now += 1
    assert spent.own_ms() == pytest.approx(0)
    other.__exit__(None, None, None)
    clock.now += 0.001
    assert spent.own_ms() == pytest.approx(1)


def test_a_thread_that_was_left_behind_spends_nothing_of_the_next(clock: Clock) -> None:
    begun, over = threading.Event(), threading.Event()
    begin_meter()

    def wait() -> None:
        with meter().waiting():
            begun.set()
            over.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    begun.wait()
    spent = begin_meter()
    clock.now += 0.003
    over.set()
    thread.join()
    assert spent.own_ms() == pytest.approx(3)
