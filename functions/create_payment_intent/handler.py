"""`create-payment-intent`: the one live payment of a hold, as an intent or a hosted checkout session."""

from typing import TYPE_CHECKING, Literal

from domain.limits import comes_from
from functions.create_payment_intent.service import PaymentRequest, pay
from runtime.http import HttpFunction, json_response

if TYPE_CHECKING:
    from functions.create_payment_intent.answers import IntentPayment, SessionPayment
    from runtime.answers import Answer

app = HttpFunction()
lambda_handler = app.lambda_handler


@app.post("/")
def post_payment() -> "Answer[IntentPayment | SessionPayment, Literal[200, 201]]":
    request, key = app.body_as(PaymentRequest), app.idempotency_key()
    comes_from(str(request.reservation_id))
    answered = pay(request, app.header("x-reservation-token"), key, app.actor("customer", "pays"))
    headers = {"Idempotent-Replayed": "true"} if answered.replayed else {}
    return json_response(answered.status, answered.body, headers)
