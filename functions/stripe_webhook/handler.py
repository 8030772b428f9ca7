"""`stripe-webhook`: what Stripe says of payments, each fact once."""

from typing import TYPE_CHECKING

from functions.stripe_webhook.service import receive
from runtime.http import HttpFunction, json_response

if TYPE_CHECKING:
    from functions.stripe_webhook.answers import Received
    from runtime.answers import Answer

# Far above any event that Stripe sends, and read before anything is computed over it.
MAX_BODY_BYTES = 512 * 1024

# Stripe is never told to slow down; others are, before the database hears of them (`strangers`).
app = HttpFunction(max_body_bytes=MAX_BODY_BYTES, limited=False)
lambda_handler = app.lambda_handler


@app.post("/")
def post_event() -> "Answer[Received]":
    outcome = receive(app.body(), app.header("stripe-signature"), app.actor("stripe", "webhook"))
    return json_response(200, {"received": True, "outcome": outcome})
