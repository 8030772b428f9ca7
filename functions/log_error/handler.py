"""`log-error`: what went wrong in a page or a function."""

from aws_lambda_powertools.event_handler import Response

from functions.log_error.service import ErrorReport, record
from runtime.http import HttpFunction, json_response

app = HttpFunction(max_body_bytes=64 * 1024)
lambda_handler = app.lambda_handler


@app.post("/")
def post_error() -> Response[str]:
    return json_response(202, record(app.body_as(ErrorReport), app.request_id))
