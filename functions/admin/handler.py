"""`admin`: what administrators look at, and what they do again. Every route asks for the role first."""

from aws_lambda_powertools.event_handler import Response

from functions.admin import service
from functions.admin.credits import change_credits, parsed_user_id, show_credits
from functions.admin.requests import (
    CreditsRequest,
    OutboxQuery,
    PageQuery,
    ReplayRequest,
    WebhookEventsQuery,
)
from runtime.auth import require_admin
from runtime.http import HttpFunction, json_response
from runtime.jobs import Budget

# What a replay keeps back: the slowest event that it may have begun just before, and its answer.
RESERVE_SECONDS = 12.0

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


@app.post("/webhook-events/replay")
def post_replay() -> Response[str]:
    caller = require_admin(app.current_event)
    request = app.body_as(ReplayRequest)
    seconds = app.lambda_context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    context = {**app.actor("admin", "replay"), "actor_id": caller.user_id}
    return json_response(200, service.replay_events(request, Budget(seconds), context))


@app.post("/webhook-events/<event_id>/replay")
def post_event_replay(event_id: str) -> Response[str]:
    caller = require_admin(app.current_event)
    context = {**app.actor("admin", "replay"), "actor_id": caller.user_id}
    return json_response(200, service.replay_event(event_id, context))


@app.get("/outbox")
def get_outbox() -> Response[str]:
    require_admin(app.current_event)
    return json_response(200, service.list_outbox(app.query_as(OutboxQuery)))


@app.post("/customers/<user_id>/credits")
def post_credits(user_id: str) -> Response[str]:
    caller = require_admin(app.current_event)
    request, key = app.body_as(CreditsRequest), app.idempotency_key()
    context = {**app.actor("admin", "credits"), "actor_id": caller.user_id}
    answer, replayed = change_credits(parsed_user_id(user_id), request, key, context)
    return json_response(201, answer, {"Idempotent-Replayed": "true"} if replayed else {})


@app.get("/customers/<user_id>/credits")
def get_credits(user_id: str) -> Response[str]:
    require_admin(app.current_event)
    return json_response(200, show_credits(parsed_user_id(user_id), app.query_as(PageQuery)))
