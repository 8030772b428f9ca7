"""`bookings`: holds booked without a payment; bookings shown, listed and changed."""

from typing import TYPE_CHECKING, Literal

from domain.refusals import UnknownBooking
from domain.scrubbing import scrub
from functions.bookings import changing, service
from functions.bookings.access import acting, booking_seen_by, visitor
from functions.bookings.requests import (
    BookingRequest,
    BookingsQuery,
    CancelRequest,
    RefundRequest,
    RescheduleRequest,
)
from runtime.auth import require_admin
from runtime.http import HttpFunction, json_response, parsed_id

if TYPE_CHECKING:
    from functions.bookings.answers import Booking, Bookings, CancelledBooking, Refund
    from runtime.answers import Answer

app = HttpFunction()
lambda_handler = app.lambda_handler


@app.post("/bookings")
def post_booking() -> "Answer[Booking, Literal[200, 201]]":
    request, key, who = app.body_as(BookingRequest), app.idempotency_key(), visitor(app)
    booked = service.book(request, who, key, acting(app, who, "books"))
    replayed = {"Idempotent-Replayed": "true"} if booked.replayed else {}
    return json_response(booked.status, booked.body, {"ETag": f'"{booked.version}"', **replayed})


@app.get("/bookings")
def get_bookings() -> "Answer[Bookings]":
    require_admin(app.current_event)
    return json_response(200, service.list_bookings(app.query_as(BookingsQuery)))


@app.get("/bookings/<booking_id>")
def get_booking(booking_id: str) -> "Answer[Booking]":
    _, answer = booking_seen_by(visitor(app), booking_id)
    return json_response(200, answer, {"ETag": f'"{answer["version"]}"'})


@app.post("/bookings/<booking_id>/cancel")
def post_cancel(booking_id: str) -> "Answer[CancelledBooking]":
    who = visitor(app)
    known, _ = booking_seen_by(who, booking_id)
    version, request = app.if_match(), app.body_as(CancelRequest)
    answer = changing.cancel(known, version, acting(app, who, scrub(request.reason)))
    return json_response(200, answer, {"ETag": f'"{answer["version"]}"'})


@app.post("/bookings/<booking_id>/reschedule")
def post_reschedule(booking_id: str) -> "Answer[Booking]":
    who = visitor(app)
    known, _ = booking_seen_by(who, booking_id)
    version, request = app.if_match(), app.body_as(RescheduleRequest)
    answer = changing.reschedule(known, version, request, acting(app, who, "reschedules"))
    return json_response(200, answer, {"ETag": f'"{answer["version"]}"'})


@app.post("/bookings/<booking_id>/refunds")
def post_refund(booking_id: str) -> "Answer[Refund, Literal[202]]":
    caller = require_admin(app.current_event)
    known = parsed_id(booking_id, UnknownBooking)
    request, key = app.body_as(RefundRequest), app.idempotency_key()
    context = {**app.actor("admin", scrub(request.reason)), "actor_id": caller.user_id}
    answer, replayed = changing.refund(known, request, caller.user_id, key, context)
    return json_response(202, answer, {"Idempotent-Replayed": "true"} if replayed else {})
