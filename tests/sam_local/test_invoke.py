"""`sam build`, and every function by `sam local invoke` with its events."""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import pytest

from tests.build.artefacts import FUNCTION_TYPE, LAYER_TYPE, Built, size
from tests.sam_local.expected import EXPECTED, ROOT
from tests.sam_local.steps import say

pytestmark = pytest.mark.sam_local
MB = 1024 * 1024
# Of the 250 MB that a function may have with its layers, https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html.
NEAR_THE_LIMIT = 200 * MB


def test_no_function_comes_near_lambdas_limit(built: Built) -> None:
    for name in built.of_type(LAYER_TYPE):
        say(f"{name} has {size(built.layer(name)) / MB:.1f} MB")
    totals = {
        name: size(built.task_root(name)) + sum(map(size, built.layers_of(name)))
        for name in built.of_type(FUNCTION_TYPE)
    }
    for name, total in totals.items():
        say(f"{name} has {total / MB:.1f} MB with its layers")
    assert {name for name, total in totals.items() if total > NEAR_THE_LIMIT} == set()


@pytest.mark.parametrize("event", sorted(EXPECTED))
def test_a_function_answers_its_event(event: str, answers: Mapping[str, Future[Any]]) -> None:
    answer = answers[event].result()
    assert EXPECTED[event].fits(answer), answer


def test_migrate_applies_every_migration_of_its_layer(migrated: Any) -> None:
    numbered = sorted(file.name for file in (ROOT / "migrations").glob("[0-9]*.sql"))
    assert migrated["applied"][: len(numbered)] == numbered
