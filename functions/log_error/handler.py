"""`log-error`: what went wrong in a page, or in a function of ours, which hands its failure over asynchronously."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from functions.log_error.service import ErrorReport, OwnFailure, record
from runtime.http import HttpFunction, json_response
from runtime.jobs import task

if TYPE_CHECKING:
    from functions.log_error.answers import Counted
    from runtime.answers import Answer

# A known error is counted however often it comes; of new ones an address has so many (`service`).
app = HttpFunction(limited=False)


@app.post("/")
def post_error() -> "Answer[Counted, Literal[202]]":
    answer = record(app.body_as(ErrorReport), app.request_id, app.client_address())
    return json_response(202, answer)


@task
def take_failure(event: Mapping[str, Any]) -> dict[str, Any]:
    failure = OwnFailure.model_validate(event)
    return record(failure, failure.request_id)


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """A function URL says who called; an invocation of ours is the failure itself."""
    return (app.lambda_handler if "requestContext" in event else take_failure)(event, context)
