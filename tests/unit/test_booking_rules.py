"""What a cancel policy may say."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.booking import CancelPolicy, WrongCancelPolicy, parse_cancel_policy

HOURS = st.lists(st.integers(0, 9999), min_size=1, max_size=5, unique=True)
PERCENTS = st.lists(st.integers(0, 100), min_size=1, max_size=5, unique=True)


def policies() -> st.SearchStrategy[CancelPolicy]:
    """Hours and shares, both falling."""
    return st.tuples(HOURS, PERCENTS).map(
        lambda both: tuple(zip(*(sorted(numbers, reverse=True) for numbers in both), strict=False))
    )


@given(policies(), st.sampled_from([",", ", ", " ,"]))
def test_what_a_policy_says_is_what_is_read(policy: CancelPolicy, comma: str) -> None:
    """Every policy can be written down, and is read as it was written."""
    assert parse_cancel_policy(comma.join(f"{hours}h:{percent}%" for hours, percent in policy)) == policy


@given(st.text(max_size=20) | st.text(alphabet="0123456789h:%, ", max_size=20))
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    """What is read has hours and shares that fall; nothing else is raised than that it is wrong."""
    try:
        policy = parse_cancel_policy(text)
    except WrongCancelPolicy:
        return
    assert all(0 <= percent <= 100 for _, percent in policy)
    assert all(
        earlier > later
        for before, after in pairwise(policy)
        for earlier, later in zip(before, after, strict=True)
    )


@pytest.mark.parametrize(
    "text",
    [
        *("", "24h", "24h:", "24:100%", "24h:100", "24h:101%", "-1h:50%", "1.5h:50%", "24H:50%", "٢h:50%"),
        *(
            "24h:50%,",
            "24h:100%;12h:50%",
            "24h:100%,24h:50%",
            "24h:50%,48h:100%",
            "48h:50%,24h:100%",
            "2h:50%,1h:50%",
        ),
    ],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    """Half a step, shares above all, fractions, and what grows towards the start."""
    with pytest.raises(WrongCancelPolicy):
        parse_cancel_policy(text)
