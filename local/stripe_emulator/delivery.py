"""Signed delivery of events to the webhook endpoint, with retries: https://docs.stripe.com/webhooks."""

import asyncio
import hashlib
import hmac
from typing import Any

import aiohttp

from local.stripe_emulator.account import Account

_TIMEOUT_S = 10
_MOST_IN_FLIGHT = 16

# Stripe begins with minutes; a local stack that was down for a moment must get its events within seconds.
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 30


def signature(payload: str, secret: str, timestamp: int) -> str:
    """The Stripe-Signature header: HMAC-SHA256 over `timestamp.payload`, scheme v1."""
    signed = hmac.new(secret.encode(), f"{timestamp}.{payload}".encode(), hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={signed}"


def retry_delay(attempts: int) -> float:
    """Seconds to wait after so many attempts: doubled each time, up to half a minute."""
    return min(_FIRST_RETRY_S * 2 ** min(attempts - 1, 16), _LONGEST_RETRY_S)


class Courier:
    """Delivers what is due, several at a time and in no promised order, until it is stopped.

    What is on its way when the process dies is delivered again: the queue is in the account's storage.
    """

    def __init__(self, account: Account, url: str) -> None:
        self._account = account
        self._url = url
        self._woken = asyncio.Event()
        self._in_flight: dict[int, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Look at the queue again."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        # After a restart nobody should wait for a backoff that began while the stack was down.
        self._account.storage.execute(
            "UPDATE deliveries SET next_at = min(next_at, ?) WHERE state = 'waiting' AND attempts > 0",
            (self._account.clock(),),
        )
        connector = aiohttp.TCPConnector(limit=_MOST_IN_FLIGHT)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            try:
                while True:
                    self._woken.clear()
                    # One moment for both: what falls due between them would be neither started nor waited for.
                    now = self._account.clock()
                    self._start_due(http, now)
                    await self._wait_for_more(now)
            finally:
                for task in self._in_flight.values():
                    task.cancel()
                await asyncio.gather(*self._in_flight.values(), return_exceptions=True)

    def _start_due(self, http: aiohttp.ClientSession, now: float) -> None:
        free = _MOST_IN_FLIGHT - len(self._in_flight)
        if free <= 0 or not self._account.faults.deliver:
            return
        due = self._account.storage.execute(
            "SELECT seq, event_id FROM deliveries WHERE state = 'waiting' AND next_at <= ?"
            " ORDER BY next_at LIMIT ?",
            (now, free + len(self._in_flight)),
        ).fetchall()
        for seq, event_id in [row for row in due if row[0] not in self._in_flight][:free]:
            task = asyncio.create_task(self._deliver(http, seq, event_id))
            self._in_flight[seq] = task
            task.add_done_callback(lambda _, seq=seq: self._landed(seq))

    def _landed(self, seq: int) -> None:
        del self._in_flight[seq]
        self.wake()

    async def _wait_for_more(self, now: float) -> None:
        delay = None
        if self._account.faults.deliver and len(self._in_flight) < _MOST_IN_FLIGHT:
            row = self._account.storage.execute(
                "SELECT min(next_at) FROM deliveries WHERE state = 'waiting' AND next_at > ?", (now,)
            ).fetchone()
            delay = None if row[0] is None else max(0.0, row[0] - self._account.clock())
        try:
            async with asyncio.timeout(delay):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _deliver(self, http: aiohttp.ClientSession, seq: int, event_id: str) -> None:
        settings = self._account.settings
        (payload,) = self._account.storage.execute(
            "SELECT body FROM objects WHERE id = ?", (event_id,)
        ).fetchone()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            # Signed anew each time: a receiver refuses a signature that is minutes old.
            "Stripe-Signature": signature(payload, settings.webhook_secret, self._account.now()),
        }
        status: int | None = None
        failure: str | None = None
        try:
            async with http.post(
                self._url, data=payload.encode(), headers=headers, allow_redirects=False
            ) as response:
                await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            failure = f"{type(error).__name__}: {error}".rstrip(": ")
        self._record(seq, status, failure)

    def _record(self, seq: int, status: int | None, failure: str | None) -> None:
        storage = self._account.storage
        now = self._account.clock()
        if status is not None and 200 <= status < 300:
            storage.execute(
                "UPDATE deliveries SET state = 'delivered', attempts = attempts + 1, last_status = ?,"
                " last_error = NULL WHERE seq = ?",
                (status, seq),
            )
            return
        row: tuple[Any, ...] = storage.execute(
            "SELECT attempts, give_up_at FROM deliveries WHERE seq = ?", (seq,)
        ).fetchone()
        next_at = now + retry_delay(row[0] + 1)
        storage.execute(
            "UPDATE deliveries SET state = ?, attempts = attempts + 1, last_status = ?, last_error = ?,"
            " next_at = ? WHERE seq = ?",
            ("abandoned" if next_at > row[1] else "waiting", status, failure, next_at, seq),
        )
