"""`bookings`: holds booked without a payment; bookings shown and listed."""

from aws_lambda_powertools.event_handler import Response

from functions.bookings import service
from functions.bookings.access import acting, booking_seen_by, visitor
from functions.bookings.requests import BookingRequest, BookingsQuery
from runtime.auth import require_admin
from runtime.http import HttpFunction, json_response

app = HttpFunction()
lambda_handler = app.lambda_handler


@app.post("/bookings")
def post_booking() -> Response[str]:
    request, key, who = app.body_as(BookingRequest), app.idempotency_key(), visitor(app)
    booked = service.book(request, who, key, acting(app, who, "books"))
    replayed = {"Idempotent-Replayed": "true"} if booked.replayed else {}
    return json_response(booked.status, booked.body, {"ETag": f'"{booked.version}"', **replayed})


@app.get("/bookings")
def get_bookings() -> Response[str]:
    require_admin(app.current_event)
    return json_response(200, service.list_bookings(app.query_as(BookingsQuery)))


@app.get("/bookings/<booking_id>")
def get_booking(booking_id: str) -> Response[str]:
    _, answer = booking_seen_by(visitor(app), booking_id)
    return json_response(200, answer, {"ETag": f'"{answer["version"]}"'})
