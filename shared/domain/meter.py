"""What the present invocation spends, noted where it is spent: an execution environment serves one at a time."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager


class Meter:
    """One invocation's units of work and time."""

    def __init__(self) -> None:
        self.database_calls = 0
        self.lock_timeouts = 0
        self._lock = threading.Lock()
        self._began_at = time.perf_counter()
        self._waiting = 0
        self._waits_since = 0.0
        self._waited = 0.0

    def own_ms(self) -> float:
        """The time since its beginning, in milliseconds, without what went by while somebody waited for Stripe."""
        with self._lock:
            now = time.perf_counter()
            waited = self._waited + (now - self._waits_since if self._waiting else 0)
            return (now - self._began_at - waited) * 1000

    def note_database_call(self, *, lock_timeout: bool) -> None:
        """A unit of work has ended; `lock_timeout`: because it could not get a lock."""
        with self._lock:
            self.database_calls += 1
            self.lock_timeouts += lock_timeout

    @contextmanager
    def waiting(self) -> Generator[None]:
        """What the block takes is Stripe's time; several threads at once wait once."""
        with self._lock:
            self._waiting += 1
            if self._waiting == 1:
                self._waits_since = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1
                if not self._waiting:
                    self._waited += time.perf_counter() - self._waits_since


_present = Meter()


def begin_meter() -> Meter:
    """A new invocation's. A thread that one before has left behind goes on with that one's."""
    global _present  # noqa: PLW0603 - threads of an invocation share it: it belongs to no call stack
    _present = Meter()
    return _present


def meter() -> Meter:
    """The present invocation's."""
    return _present
