"""`admin`: what administrators look at, and what they do again. Every route but the page itself asks for the role first."""

from typing import TYPE_CHECKING, Literal

from aws_lambda_powertools.event_handler import Response

from database.connection import Context
from domain.refusals import UnknownBooking, UnknownSlot
from functions.admin import catalogue, schedules, service
from functions.admin.audit import show_audit
from functions.admin.console import console
from functions.admin.credits import change_credits, parsed_user_id, show_credits
from functions.admin.errors import change_error, list_errors
from functions.admin.requests import (
    CreditsRequest,
    ErrorsQuery,
    OfferingRequest,
    OutboxQuery,
    PageQuery,
    ReplayRequest,
    SlotRequest,
    WebhookEventsQuery,
)
from functions.admin.schedules import ScheduleRequest
from functions.admin.trace import show_story
from runtime.auth import require_admin
from runtime.http import HttpFunction, json_response, parsed_id
from runtime.jobs import Budget

if TYPE_CHECKING:
    from functions.admin.answers import (
        Audit,
        Balance,
        Credits,
        EndedOffering,
        ErrorGroup,
        Errors,
        Offering,
        Outbox,
        Refreshed,
        Replay,
        Replayed,
        Slot,
        Stats,
        Story,
        WebhookEvents,
    )
    from runtime.answers import Answer

# What a replay keeps back: the slowest event that it may have begun just before, and its answer.
RESERVE_SECONDS = 12.0

app = HttpFunction()
lambda_handler = app.lambda_handler


def _acting(reason: str) -> Context:
    """Who changes something, once it is known that they may."""
    caller = require_admin(app.current_event)
    return {**app.actor("admin", reason), "actor_id": caller.user_id}


@app.get("/stats")
def get_stats() -> "Answer[Stats]":
    require_admin(app.current_event)
    return json_response(200, service.stats())


@app.get("/webhook-events")
def get_webhook_events() -> "Answer[WebhookEvents]":
    require_admin(app.current_event)
    return json_response(200, service.list_webhook_events(app.query_as(WebhookEventsQuery)))


@app.post("/webhook-events/replay")
def post_replay() -> "Answer[Replay]":
    context = _acting("replay")
    request = app.body_as(ReplayRequest)
    seconds = app.lambda_context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    return json_response(200, service.replay_events(request, Budget(seconds), context))


@app.post("/webhook-events/<event_id>/replay")
def post_event_replay(event_id: str) -> "Answer[Replayed]":
    context = _acting("replay")
    return json_response(200, service.replay_event(event_id, context))


@app.get("/outbox")
def get_outbox() -> "Answer[Outbox]":
    require_admin(app.current_event)
    return json_response(200, service.list_outbox(app.query_as(OutboxQuery)))


@app.post("/customers/<user_id>/credits")
def post_credits(user_id: str) -> "Answer[Balance, Literal[201]]":
    context = _acting("credits")
    request, key = app.body_as(CreditsRequest), app.idempotency_key()
    answer, replayed = change_credits(parsed_user_id(user_id), request, key, context)
    return json_response(201, answer, {"Idempotent-Replayed": "true"} if replayed else {})


@app.get("/customers/<user_id>/credits")
def get_credits(user_id: str) -> "Answer[Credits]":
    require_admin(app.current_event)
    return json_response(200, show_credits(parsed_user_id(user_id), app.query_as(PageQuery)))


@app.get("/offerings/<slug>")
def get_offering(slug: str) -> "Answer[Offering]":
    require_admin(app.current_event)
    offering = catalogue.show_offering(slug)
    return json_response(200, offering, {"ETag": f'"{offering["version"]}"'})


@app.put("/offerings/<slug>")
def put_offering(slug: str) -> "Answer[Offering, Literal[200, 201]]":
    context = _acting("catalogue")
    request, version = app.body_as(OfferingRequest), app.version_seen()
    is_new, offering = catalogue.put_offering(slug, request, version, context)
    return json_response(201 if is_new else 200, offering, {"ETag": f'"{offering["version"]}"'})


@app.delete("/offerings/<slug>")
def delete_offering(slug: str) -> "Answer[EndedOffering]":
    context = _acting("catalogue")
    return json_response(200, catalogue.delete_offering(slug, app.version_seen(), context))


@app.put("/offerings/<slug>/schedule")
def put_schedule(slug: str) -> "Answer[Refreshed]":
    context = _acting("schedule")
    return json_response(200, schedules.refresh(slug, app.body_as(ScheduleRequest), context))


@app.put("/slots/<slot_id>")
def put_slot(slot_id: str) -> "Answer[Slot]":
    context = _acting("catalogue")
    known, request = parsed_id(slot_id, UnknownSlot), app.body_as(SlotRequest)
    return json_response(200, catalogue.set_slot_capacity(known, request, context))


@app.get("/bookings/<booking_id>/audit")
def get_audit(booking_id: str) -> "Answer[Audit]":
    require_admin(app.current_event)
    return json_response(200, show_audit(parsed_id(booking_id, UnknownBooking)))


@app.get("/console")
def get_console() -> "Answer[str]":
    page, headers = console()
    return Response(200, "text/html; charset=utf-8", page, headers)


@app.get("/trace/<known_id>")
def get_trace(known_id: str) -> "Answer[Story]":
    require_admin(app.current_event)
    return json_response(200, show_story(known_id))


@app.get("/errors")
def get_errors() -> "Answer[Errors]":
    require_admin(app.current_event)
    return json_response(200, list_errors(app.query_as(ErrorsQuery)))


@app.post("/errors/<fingerprint>/<act>")
def post_error_act(fingerprint: str, act: str) -> "Answer[ErrorGroup]":
    require_admin(app.current_event)
    return json_response(200, change_error(fingerprint, act))
