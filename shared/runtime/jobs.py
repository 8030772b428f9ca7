"""The entry point of a function that a schedule, a queue or another function invokes."""

import functools
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from runtime.failures import report_failure, report_held_back
from runtime.observability import count, invocation, logger, named_after
from runtime.settings import MissingSetting, renew_secrets

# What a run keeps back for the batch that it may have begun just before, and its answer. A batch that Stripe makes slower
# still is cut off by the function's deadline, and done again by the next run.
RESERVE_SECONDS = 20.0


class Budget:
    """The time that a run may still spend."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds

    @property
    def is_spent(self) -> bool:
        return time.monotonic() >= self._ends_at

    def half(self) -> "Budget":
        """Half of what is left, for a phase after which others must have their turn."""
        return Budget((self._ends_at - time.monotonic()) / 2)


type Job = Callable[[str, Budget], Mapping[str, Any]]
type Batch = Callable[[Sequence[Mapping[str, Any]], str, Budget], Sequence[str]]


def job(run: Job) -> Callable[[Mapping[str, Any], Any], dict[str, Any]]:
    """A Lambda handler of `run(request_id, budget)`, whose counts become the answer, a log line and metrics."""

    @functools.wraps(run)
    def lambda_handler(_: Mapping[str, Any], context: Any) -> dict[str, Any]:
        with _run(context) as (request_id, budget):
            result = dict(run(request_id, budget))
            for name, value in result.items():
                if isinstance(value, int) and not isinstance(value, bool):
                    count(name.title().replace("_", ""), value)
            count(named_after(context, "Done"))  # the heartbeat that an alarm listens for
            logger.info("done", extra={"result": result})
            return result

    return lambda_handler


def batch(run: Batch) -> Callable[[Mapping[str, Any], Any], dict[str, Any]]:
    """A Lambda handler of SQS messages, of which `run(records, request_id, budget)` answers the ids that shall come again.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
    """

    @functools.wraps(run)
    def lambda_handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        with _run(context) as (request_id, budget):
            failed = run(event["Records"], request_id, budget)
            logger.info("done", extra={"result": {"messages": len(event["Records"]), "failed": len(failed)}})
            return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}

    return lambda_handler


def task(
    run: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> Callable[[Mapping[str, Any], Any], dict[str, Any]]:
    """A Lambda handler of one thing that another function hands over; where it fails Lambda brings it again."""

    @functools.wraps(run)
    def lambda_handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        with _run(context):
            return dict(run(event))

    return lambda_handler


@contextmanager
def _run(context: Any) -> Generator[tuple[str, Budget]]:
    with invocation(context) as request_id:
        renew_secrets()
        report_held_back()
        try:
            yield request_id, Budget(context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS)
        except MissingSetting as missing:
            logger.critical("the function cannot start: %s", missing)
            report_failure(missing, context, severity="critical")
            raise RuntimeError("not configured: see the log") from None
        except Exception as failure:
            count("JobFailed")
            logger.exception("the run failed")
            report_failure(failure, context)
            _scrub_arguments(failure)
            raise


def _scrub_arguments(failure: Exception) -> None:
    """Lambda logs what is raised here, and the queue of failed invocations keeps it."""
    from domain.scrubbing import scrub  # noqa: PLC0415 - a cold start need not compile its expressions

    failure.args = tuple(scrub(part) if isinstance(part, str) else part for part in failure.args)
