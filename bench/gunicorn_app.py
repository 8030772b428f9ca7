"""The same acts behind an ordinary server, as little as they can be: `gunicorn --workers 2 bench.gunicorn_app:app`.

`/webhook` is Stripe's own verification, json, and one SQL call; `/hold` is json and one SQL call.
"""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

import psycopg
import stripe

type Respond = Callable[[str, list[tuple[str, str]]], object]

SECRET = os.environ["WEBHOOK_SECRET"]
_connections: list[psycopg.Connection] = []


def _connection() -> psycopg.Connection:
    """The worker's own, opened at its first request."""
    if not _connections:
        _connections.append(psycopg.connect(os.environ["DATABASE_URL"], autocommit=True))
    return _connections[0]


def _webhook(body: bytes, environ: dict[str, Any]) -> None:
    stripe.WebhookSignature.verify_header(  # pyright: ignore[reportUnknownMemberType] - partly untyped there
        body.decode(), environ["HTTP_STRIPE_SIGNATURE"], SECRET, tolerance=300
    )
    event = json.loads(body)
    intent = event["data"]["object"]
    _connection().execute(
        "SELECT bench_apply_event(%s, %s, %s, %s, %s, %s)",
        [event["id"], event["type"], body.decode(), intent["id"], intent["amount_received"], str(uuid4())],
    )


def _hold(body: bytes, _: dict[str, Any]) -> None:
    request = json.loads(body)
    items: list[dict[str, Any]] = [{**item, "add_ons": []} for item in request["items"]]
    _connection().execute(
        "SELECT reserve_tickets(%s, %s, %s, NULL, %s, '15 minutes', '30 minutes', %s, %s, %s)",
        [
            uuid4(),
            request["customer"]["email"],
            request["customer"]["name"],
            json.dumps(items),
            str(uuid4()),
            "0" * 64,
            str(uuid4()),
        ],
    )


ROUTES = {"/webhook": _webhook, "/hold": _hold}


def app(environ: dict[str, Any], start_response: Respond) -> Iterable[bytes]:
    """What gunicorn calls."""
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    ROUTES[environ["PATH_INFO"]](body, environ)
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "2")])
    return [b"{}"]
