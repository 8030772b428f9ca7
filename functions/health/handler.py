"""`health`: is the function alive, and can the deployment work."""

from aws_lambda_powertools.event_handler import Response

from functions.health.service import readiness
from runtime.http import HttpFunction, json_response

app = HttpFunction()
lambda_handler = app.lambda_handler


@app.get("/live")
def get_live() -> Response[str]:
    return json_response(200, {"status": "live"})


@app.get("/ready")
def get_ready() -> Response[str]:
    ready, parts = readiness()
    return json_response(200 if ready else 503, parts, {} if ready else {"Retry-After": "5"})
