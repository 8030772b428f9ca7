"""Who sends what Stripe did not sign is counted, in bounded memory."""

import time

import pytest

from functions.stripe_webhook.strangers import ALLOWED, MINUTE_SECONDS, REMEMBERED, Strangers


def test_a_minute_later_an_address_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is one of a minute."""
    strangers = Strangers()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert [strangers.failed("a") for _ in range(ALLOWED + 1)] == [False] * ALLOWED + [True]
    monkeypatch.setattr(time, "monotonic", lambda: now + MINUTE_SECONDS)
    assert not strangers.failed("a")


def test_memory_is_bounded_and_the_loudest_are_remembered() -> None:
    """A flood of addresses takes no more than its share, and does not wash away one that goes on."""
    strangers, blocked = Strangers(), False
    for number in range(ALLOWED * REMEMBERED):
        strangers.failed(f"address {number}")
        if number % (REMEMBERED // 2) == 0:
            blocked = strangers.failed("the loudest")
    assert blocked
    assert len(strangers._failures) == REMEMBERED
