"""Who comes to a sale, and what a strange answer is called."""

import pytest

from local.sale.script import BUYERS, FIRST_TO_COME, SEATS, seats_for, write_scripts
from local.sale.shop import Answer, complaint

PROBLEM = '{"type": "/problems/sold-out", "title": "t", "status": 409, "detail": "d", "instance": "i"'


def test_a_seed_repeats_the_script() -> None:
    """The same seed writes the same scripts, another one writes others."""
    assert write_scripts("a", BUYERS) == write_scripts("a", BUYERS)
    assert write_scripts("a", BUYERS) != write_scripts("b", BUYERS)


@pytest.mark.parametrize("buyers", [60, 150, BUYERS])
def test_those_whom_the_story_needs_stand_at_the_head_of_the_queue(buyers: int) -> None:
    """All of them fit into the hall, and everybody else comes after them."""
    scripts = write_scripts("a", buyers)
    first = [script for script in scripts if script.arrives_s < 0.3]
    assert {script.temper for script in first} >= set(FIRST_TO_COME)
    assert 4 * len(first) <= seats_for(buyers) + len(first)
    assert len(scripts) == buyers
    assert seats_for(BUYERS) == SEATS


@pytest.mark.parametrize(
    ("call", "answer", "told"),
    [
        ("hold", Answer("500 internal-error", {}, "{}"), "500 internal-error"),
        ("hold", Answer("504", {}, '{"Message": "Internal Server Error"}'), "504"),
        ("show", Answer("404 unknown-reservation", {}, "{}"), "404 unknown-reservation"),
        ("cancel", Answer("200", {}, '{"status": "cancelled"}'), "without X-Request-Id"),
        ("hold", Answer("409 sold-out", {}, PROBLEM + ', "left": []}'), "409 sold-out as None"),
        (
            "hold",
            Answer(
                "409 sold-out",
                {"Content-Type": "application/problem+json", "X-Request-Id": "r"},
                PROBLEM + "}",
            ),
            "without left",
        ),
    ],
    ids=["a failure", "a dead function", "another's call", "no request id", "no problem", "not what is left"],
)
def test_an_answer_that_no_caller_may_get_is_told(call: str, answer: Answer, told: str) -> None:
    """Another status, another form, a field or a header that is missing."""
    assert told in (complaint(call, answer) or "")


def test_what_a_caller_may_get_is_no_complaint() -> None:
    """The platform's own throttle among it."""
    assert complaint("hold", Answer("429", {}, '{"Message": "Rate Exceeded."}')) is None
    assert complaint("cancel", Answer("200", {"X-Request-Id": "r"}, '{"status": "cancelled"}')) is None
