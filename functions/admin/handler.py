"""`admin`: what administrators look at. Every route asks for the role first."""

from aws_lambda_powertools.event_handler import Response

from functions.admin import service
from functions.admin.requests import WebhookEventsQuery
from runtime.auth import require_admin
from runtime.http import HttpFunction, json_response

app = HttpFunction()
lambda_handler = app.lambda_handler


@app.get("/stats")
def get_stats() -> Response[str]:
    require_admin(app.current_event)
    return json_response(200, service.stats())


@app.get("/webhook-events")
def get_webhook_events() -> Response[str]:
    require_admin(app.current_event)
    return json_response(200, service.list_webhook_events(app.query_as(WebhookEventsQuery)))
