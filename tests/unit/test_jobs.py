"""The entry point of scheduled functions."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from runtime.jobs import RESERVE_SECONDS, Budget, job
from runtime.settings import MissingSetting
from tests.support.lambda_events import Context
from tests.support.logs import Logs


def test_what_was_done_is_the_answer_a_line_and_metrics(logs: Logs) -> None:
    """The counts of a run are its answer, one log line and one metric each."""

    @job
    def handler(request_id: str, budget: Budget) -> Mapping[str, Any]:
        assert not budget.is_spent
        return {"released": 2, "kept": 0, "more": False}

    context = Context()
    answer = handler({}, context)

    assert answer == {"released": 2, "kept": 0, "more": False}
    (line,) = [line for line in logs.lines() if line.get("message") == "done"]
    assert line["result"] == answer
    assert line["request_id"] == context.aws_request_id
    (metrics,) = logs.metrics()
    assert (metrics["Released"], metrics["Kept"]) == ([2.0], [0.0])
    assert "More" not in metrics


def test_a_run_ends_in_time() -> None:
    """The budget is the function's time without what the last commit and the answer need."""
    assert not Budget(1).is_spent
    assert Budget(0).is_spent
    seen: list[bool] = []

    @job
    def handler(request_id: str, budget: Budget) -> Mapping[str, Any]:
        seen.append(budget.is_spent)
        return {}

    handler({}, Context(seconds_left=RESERVE_SECONDS - 0.1))
    assert seen == [True]


def test_a_failed_run_fails(logs: Logs) -> None:
    """A run that fails is logged with its stack, counted, and fails for whoever invoked it."""

    @job
    def handler(request_id: str, budget: Budget) -> Mapping[str, Any]:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        handler({}, Context())
    (line,) = [line for line in logs.lines() if line["level"] == "ERROR"]
    assert "ValueError" in line["exception"]
    assert logs.metrics()[0]["JobFailed"] == [1.0]


def test_what_a_failed_run_raises_tells_no_secret(logs: Logs) -> None:
    """Lambda writes it into the log, and keeps it with the failed invocation."""

    @job
    def handler(request_id: str, budget: Budget) -> Mapping[str, Any]:
        raise ValueError("no mail to ada@example.com")

    with pytest.raises(ValueError, match=r"no mail to \[email\]"):
        handler({}, Context())
    assert "ada@" not in logs.text


def test_a_missing_setting_is_one_line(logs: Logs) -> None:
    """A run that cannot start says why in one line, without a stack."""

    @job
    def handler(request_id: str, budget: Budget) -> Mapping[str, Any]:
        raise MissingSetting("DATABASE_URL: Field required")

    with pytest.raises(RuntimeError):
        handler({}, Context())
    (line,) = logs.lines()
    assert line["level"] == "CRITICAL"
    assert "DATABASE_URL" in line["message"]
    assert "exception" not in json.dumps(line)
