"""`stripe-webhook`: what Stripe says of payments, each fact once."""

from aws_lambda_powertools.event_handler import Response

from functions.stripe_webhook.service import receive
from runtime.http import HttpFunction, json_response

# Far above any event that Stripe sends, and read before anything is computed over it.
MAX_BODY_BYTES = 512 * 1024

app = HttpFunction(max_body_bytes=MAX_BODY_BYTES)
lambda_handler = app.lambda_handler


@app.post("/")
def post_event() -> Response[str]:
    outcome = receive(app.body(), app.header("stripe-signature"), app.actor("stripe", "webhook"))
    return json_response(200, {"received": True, "outcome": outcome})
