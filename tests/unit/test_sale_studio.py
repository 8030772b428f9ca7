"""The policy of a sale's studio, as its members reckon it."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.booking import parse_cancel_policy
from local.sale.studio import CANCEL_POLICY, POLICY, is_clear, share


@pytest.mark.parametrize(
    ("hours", "percent", "clear"),
    [(72, 100, True), (48.2, 100, False), (47.8, 50, False), (36, 50, True), (23, 0, True), (0.2, 0, False)],
)
def test_a_member_reckons_by_the_policy(hours: float, percent: int, clear: bool) -> None:
    """All, half or nothing; near one of its moments nobody cancels, and nobody comes to what begins."""
    starts = datetime.now(UTC) + timedelta(hours=hours)
    assert (share(starts), is_clear(starts)) == (percent, clear)


def test_the_functions_are_told_the_same_policy() -> None:
    """As a setting, in the words that they read."""
    assert parse_cancel_policy(CANCEL_POLICY) == POLICY
