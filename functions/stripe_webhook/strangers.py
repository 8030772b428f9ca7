"""Who sends what Stripe did not sign: counted in this environment's memory, for the database is not touched for them."""

import time

# A minute of an address; Stripe's own retries of one endpoint with a wrong secret stay far below.
ALLOWED = 60
MINUTE_SECONDS = 60.0
REMEMBERED = 1024


class Strangers:
    """Addresses whose signatures failed lately; beyond 1024, whoever was quiet the longest is forgotten."""

    def __init__(self) -> None:
        self._failures: dict[str, tuple[float, int]] = {}

    def failed(self, address: str) -> bool:
        """Counts a failed signature: whether it is one too many for this minute."""
        now = time.monotonic()
        began_at, failures = self._failures.pop(address, (now, 0))
        if now - began_at >= MINUTE_SECONDS:
            began_at, failures = now, 0
        self._failures[address] = began_at, failures + 1
        if len(self._failures) > REMEMBERED:
            del self._failures[next(iter(self._failures))]
        return failures >= ALLOWED
