"""What `make sam-local` invokes is complete; needs no Docker, so that `make test` asks it too."""

from local.template import load_template
from tests.sam_local.expected import EVENTS, EXPECTED, holds, missing
from tests.sam_local.surroundings import TEMPLATE


def test_every_function_has_an_event_and_every_event_an_expected_answer() -> None:
    """A function that is added to the template without them fails here, by a sentence that says what to add."""
    events = [file.stem for file in EVENTS.glob("*.json")]
    assert missing(load_template(TEMPLATE).functions, events, EXPECTED) == []


def test_what_is_missing_is_told_in_a_sentence() -> None:
    assert missing({"refund", "refund-all"}, {"refund-half", "odd"}, {"gone"}) == [
        "refund-all has no event: add events/refund-all.json, a whole event as Lambda gets it",
        "events/odd.json is for no function of template.yaml: begin its name with one's",
        'events/odd.json has no expected answer: add "odd" to EXPECTED in tests/sam_local/expected.py',
        'events/refund-half.json has no expected answer: add "refund-half" to EXPECTED in tests/sam_local/expected.py',
        'EXPECTED["gone"] has no event: add events/gone.json, or remove it',
    ]


def test_an_answer_holds_what_is_wanted_of_it_and_may_hold_more() -> None:
    given = {"id": "x", "slots": [{"left": 2, "name": "a"}]}
    assert holds({"id": str, "slots": [{"left": 2}]}, given)
    assert not holds({"id": int}, given)
    assert not holds({"slots": [{"left": 2}, {"left": 2}]}, given)
    assert not holds({"slots": [{"left": 3}]}, given)
    assert not holds({"other": str}, given)
