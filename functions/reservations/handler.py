"""`reservations`: what is on sale, holding it, showing and ending a hold."""

from typing import TYPE_CHECKING, Literal

from domain.limits import comes_from
from domain.refusals import UnknownReservation
from functions.reservations import service
from functions.reservations.requests import HoldRequest, SlotsQuery
from runtime.http import HttpFunction, json_response, parsed_id

if TYPE_CHECKING:
    from functions.reservations.answers import Cancelled, Hold, NewHold, Offerings, Slots
    from runtime.answers import Answer

# An anonymous key must not be guessed: who knows email and key gets the stored answer.
KEY_LENGTH = 16

app = HttpFunction()
lambda_handler = app.lambda_handler


@app.get("/offerings")
def get_offerings() -> "Answer[Offerings]":
    return json_response(200, {"offerings": service.list_offerings()})


@app.get("/slots")
def get_slots() -> "Answer[Slots]":
    return json_response(200, service.list_slots(app.query_as(SlotsQuery)))


@app.post("/reservations")
def post_reservation() -> "Answer[NewHold, Literal[201]]":
    request, key = app.body_as(HoldRequest), app.idempotency_key(at_least=KEY_LENGTH)
    comes_from(request.customer.email.lower())
    answer, replayed = service.hold(request, key, app.actor("customer", "holds"))
    return json_response(201, answer, {"Idempotent-Replayed": "true"} if replayed else {})


@app.get("/reservations/<reservation_id>")
def get_reservation(reservation_id: str) -> "Answer[Hold]":
    known = parsed_id(reservation_id, UnknownReservation)
    return json_response(200, service.show(known, app.header("x-reservation-token")))


@app.delete("/reservations/<reservation_id>")
def delete_reservation(reservation_id: str) -> "Answer[Cancelled]":
    known = parsed_id(reservation_id, UnknownReservation)
    service.cancel(known, app.header("x-reservation-token"), app.actor("customer", "cancelled by its buyer"))
    return json_response(200, {"status": "cancelled"})
