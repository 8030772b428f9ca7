"""`health`: is the function alive, and can the deployment work."""

from typing import TYPE_CHECKING, Literal

from functions.health.service import readiness
from runtime.http import HttpFunction, json_response

if TYPE_CHECKING:
    from functions.health.answers import Live, Readiness
    from runtime.answers import Answer

# Whoever watches must hear what is the matter, and that the limits' own table is not there yet is part of it.
app = HttpFunction(limited=False)
lambda_handler = app.lambda_handler


@app.get("/live")
def get_live() -> "Answer[Live]":
    return json_response(200, {"status": "live"})


@app.get("/ready")
def get_ready() -> "Answer[Readiness, Literal[200, 503]]":
    ready, parts = readiness()
    return json_response(200 if ready else 503, parts, {} if ready else {"Retry-After": "5"})
