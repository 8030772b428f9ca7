"""Refusals and the one table that makes answers of them."""

import json
import re
from pathlib import Path

import pytest

from domain import refusals
from domain.refusals import BY_SLUG, Refusal
from runtime.problems import RETRY_AFTER, STATUS, problem_response

KINDS = sorted(Refusal.__subclasses__(), key=lambda kind: kind.__name__)
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.slug())
def test_every_refusal_has_its_answer(kind: type[Refusal]) -> None:
    """Each refusal has a status and becomes problem+json with its slug, its title and the request's id."""
    response = problem_response(kind(), "request-1")

    assert response.body is not None
    body = json.loads(response.body)
    assert response.status_code == body["status"] == STATUS[kind]
    assert response.content_type == "application/problem+json"
    assert body["type"] == f"/problems/{kind.slug()}"
    assert body["title"] == kind.title()
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == response.headers["X-Request-Id"] == "request-1"


def test_no_status_without_a_refusal() -> None:
    """The table names refusals that exist, and none is missing."""
    assert set(STATUS) == set(KINDS)
    assert set(RETRY_AFTER) <= set(KINDS)


def test_whoever_is_told_to_come_again_is_told_when() -> None:
    """429 and 503, and what is in progress, say after how many seconds to try again."""
    for kind in KINDS:
        if STATUS[kind] in (429, 503) or kind in (refusals.RequestInProgress, refusals.LockTimeout):
            assert int(str(problem_response(kind(), "r").headers["Retry-After"])) > 0, kind


def test_what_a_refusal_adds_is_in_the_answer() -> None:
    """Members of the refusal are members of the problem, and its own wait is the header."""
    response = problem_response(refusals.SoldOut(left=[{"slot_id": "s", "units_left": 0}]), "r")
    assert json.loads(response.body or "")["left"] == [{"slot_id": "s", "units_left": 0}]
    response = problem_response(refusals.PaymentProviderUnavailable("Not yet.", retry_after=30), "r")
    assert response.headers["Retry-After"] == "30"
    assert json.loads(response.body or "")["detail"] == "Not yet."


def test_a_422_always_lists_its_errors() -> None:
    """A 422 has `errors`, however it came about."""
    for kind in KINDS:
        if STATUS[kind] == 422:
            body = json.loads(problem_response(kind(), "r").body or "")
            assert isinstance(body.get("errors"), list), kind


def test_slugs_are_unique_and_known() -> None:
    """The slug is the name, and finds its refusal."""
    assert {kind.slug(): kind for kind in KINDS} == BY_SLUG
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", slug) for slug in BY_SLUG)


def test_every_outcome_of_the_sql_functions_is_known() -> None:
    """What the SQL functions refuse with is the slug of a refusal."""
    answered: set[str] = set()
    for file in (ROOT / "migrations" / "functions").glob("*.sql"):
        text = file.read_text()
        answered |= set(re.findall(r"'outcome', '([a-z-]+)'", text))
        answered |= set(re.findall(r"v_outcome := '([a-z-]+)'", text))
        for decided in re.findall(r"v_(?:outcome|refused) := CASE(.*?)END;", text, re.DOTALL):
            answered |= set(re.findall(r"THEN '([a-z-]+)'", decided))
    done = {"held", "replayed", "create", "fetch", "closed", "close", "in-progress", "changed", "booked"}
    done |= {"cancelled", "rescheduled", "requested", "refreshed", "deleted", "retired", "counted"}
    done |= {"unknown-timezone", "several-resources"}  # the admin function names the field
    assert answered - done <= set(BY_SLUG), answered - done - set(BY_SLUG)
    assert "too-many-holds" in answered
    assert "amount-not-chargeable" in answered
    assert {"payment-in-progress", "not-offered"} <= answered
