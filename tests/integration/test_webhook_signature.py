"""Whether the bytes are Stripe's, and whether they are an event: before anything is looked up or stored."""

import json
import socket
import time
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from functions.stripe_webhook import service
from functions.stripe_webhook.handler import MAX_BODY_BYTES
from functions.stripe_webhook.strangers import ALLOWED
from stripe_gateway.webhook import verify
from tests.support.app import App
from tests.support.lambda_events import Context, url_event
from tests.support.stripe_events import WEBHOOK_SECRET, encoded, event_of, intent, signature

EVENT = encoded(event_of("customer.created", {"object": "customer", "id": "cus_1"}))


def refused(app: App, payload: bytes, header: str | None) -> tuple[int, str]:
    headers = {} if header is None else {"stripe-signature": header}
    answer = app.call("stripe-webhook", "POST", "/", payload, headers)
    assert app.count("webhook_events_log") == 0
    return answer.status, answer.problem


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        "t=,v1=",
        "t=abc,v1=def",
        f"t={int(time.time())}",
        f"t={int(time.time())},v1=",
        f"t={int(time.time())},v1=ü",
        f"t={int(time.time())},v1={'0' * 64}",
        signature(EVENT, secret="whsec_another"),
        signature(EVENT + b" "),
        signature(EVENT).replace("v1", "v0"),
        signature(EVENT).replace("t=", "t=-"),
        signature(EVENT).replace("t=", "t=9" * 20),
    ],
    ids=range(14),
)
def test_what_is_not_signed_by_stripe_is_400(app: App, header: str | None) -> None:
    """Missing, malformed or wrong: 400 invalid-signature, and nothing is stored."""
    assert refused(app, EVENT, header) == (400, "invalid-signature")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> float:
    """The moment at which the webhook's clock stands still."""
    moment = float(int(time.time()))
    monkeypatch.setattr("stripe_gateway.webhook.time", SimpleNamespace(time=lambda: moment))
    return moment


@pytest.mark.parametrize("age", [301, -301, 10_000_000, -10_000_000])
def test_a_signature_too_old_or_too_new_is_400(app: App, now: float, age: int) -> None:
    """More than 300 seconds, either way."""
    header = signature(EVENT, at=now - age)
    assert refused(app, EVENT, header) == (400, "invalid-signature")


@pytest.mark.parametrize("age", [0, 300, -300])
def test_a_signature_within_300_seconds_is_good(app: App, now: float, age: int) -> None:
    """300 seconds either way are for clocks that differ."""
    answer = app.deliver(EVENT, at=now - age)
    assert (answer.status, answer.body) == (200, {"received": True, "outcome": "ignored"})


def test_while_a_secret_is_rolled_both_are_good(app: App) -> None:
    """Several secrets are valid at once, and any one of several signatures will do."""
    app.set(STRIPE_WEBHOOK_SECRETS="whsec_old, whsec_new")
    assert app.deliver(EVENT, secret="whsec_old").body["outcome"] == "ignored"
    assert app.deliver(EVENT, secret="whsec_new").body["outcome"] == "duplicate"
    assert app.deliver(EVENT, secret=WEBHOOK_SECRET).problem == "invalid-signature"
    stamp, wanted = signature(EVENT, secret="whsec_new").split(",")
    _, other = signature(EVENT, secret="whsec_unknown").split(",")
    assert app.deliver(EVENT, header=f"{stamp},{other},{wanted}").status == 200
    assert app.deliver(EVENT, header=f"{stamp},{wanted},{other},v0=abc").status == 200


def test_the_signature_is_of_the_bytes(app: App) -> None:
    """The very bytes count: the same event written otherwise is not signed."""
    assert refused(app, json.dumps(json.loads(EVENT)).encode(), signature(EVENT)) == (
        400,
        "invalid-signature",
    )


def test_the_media_type_makes_no_difference(app: App) -> None:
    """It is the signature that says that the bytes are Stripe's."""
    headers = {"stripe-signature": signature(EVENT), "content-type": "application/octet-stream"}
    assert app.call("stripe-webhook", "POST", "/", EVENT, headers).status == 200


def _without(name: str) -> dict[str, Any]:
    event = event_of("payment_intent.succeeded", intent("pi_1", 4500, "succeeded"))
    del event[name]
    return event


NO_EVENTS: list[object] = [
    b"",
    b"no json",
    b"\xff\xfe\x00",
    b"null",
    b"[]",
    b'"evt_1"',
    b"17",
    b"{}",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"id": NaN}',
    *(_without(name) for name in ("id", "object", "type", "created", "livemode", "data")),
    event_of("payment_intent.succeeded", {}, id=""),
    event_of("payment_intent.succeeded", {}, id=5),
    event_of("payment_intent.succeeded", {}, id="e" * 256),
    event_of("", {}),
    event_of("x" * 256, {}),
    event_of("payment_intent.succeeded", {}, created="now"),
    event_of("payment_intent.succeeded", {}, created=-1),
    event_of("payment_intent.succeeded", {}, created=10**30),
    event_of("payment_intent.succeeded", {}, created=1.5),
    event_of("payment_intent.succeeded", {}, livemode="no"),
    event_of("payment_intent.succeeded", {}, data=[]),
    event_of("payment_intent.succeeded", {}, data={}),
    event_of("payment_intent.succeeded", {}, data={"object": "pi_1"}),
    event_of("payment_intent.succeeded", {}, object="v2.core.event"),
    b'{"object": "event", "id": "evt_1", "amount": ' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("payload", NO_EVENTS, ids=range(len(NO_EVENTS)))
def test_what_is_signed_but_no_event_is_400_and_not_stored(app: App, payload: object) -> None:
    """400 malformed-event; nothing is stored."""
    answer = app.deliver(payload)
    assert (answer.status, answer.problem) == (400, "malformed-event")
    assert app.count("webhook_events_log") == 0


def test_a_body_over_the_limit_is_413(app: App) -> None:
    """More than any event of Stripe's is not even read."""
    answer = app.deliver(b" " * 600_000)
    assert (answer.status, answer.problem) == (413, "body-too-large")


def test_bytes_that_are_not_signed_do_not_reach_the_database(app: App) -> None:
    """With the database away an unsigned call is still 400: the signature comes first."""
    app.set(DATABASE_URL="postgresql://app@127.0.0.1:9/nowhere")
    assert refused(app, EVENT, "t=1,v1=00") == (400, "invalid-signature")
    assert app.deliver(b"{}").problem == "malformed-event"


def test_junk_never_touches_the_database(app: App) -> None:
    """Nobody connects to the database before the signature was good."""
    with socket.create_server(("127.0.0.1", 0)) as database:
        database.settimeout(0)
        app.set(DATABASE_URL=f"postgresql://app@127.0.0.1:{database.getsockname()[1]}/holdfast")
        assert app.deliver(EVENT, secret="whsec_wrong").problem == "invalid-signature"
        assert app.deliver(b"{}", secret="whsec_wrong").problem == "invalid-signature"
        assert app.deliver(b"{}").problem == "malformed-event"
        with pytest.raises(BlockingIOError):
            database.accept()


def test_a_body_over_the_limit_is_not_even_verified(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """413 before anything is computed over it, signed or not; the largest that is allowed is verified."""
    verified: list[int] = []

    def counted(payload: bytes, signature: str | None, secrets: Sequence[str]) -> Mapping[str, Any]:
        verified.append(len(payload))
        return verify(payload, signature, secrets)

    monkeypatch.setattr(service, "verify", counted)
    assert app.deliver(EVENT.ljust(MAX_BODY_BYTES + 1)).problem == "body-too-large"
    assert verified == []
    assert app.deliver(EVENT.ljust(MAX_BODY_BYTES)).status == 200
    assert verified == [MAX_BODY_BYTES]


def test_failed_signatures_are_limited_per_address(app: App) -> None:
    """After 60 in a minute 429 with Retry-After; what Stripe signs passes, wherever it comes from, and so do others' failures."""
    for _ in range(ALLOWED):
        assert app.deliver(EVENT, secret="whsec_wrong").problem == "invalid-signature"
    answer = app.deliver(EVENT, secret="whsec_wrong")
    assert (answer.status, answer.problem, answer.headers["Retry-After"]) == (429, "too-many-requests", "60")
    assert app.deliver(EVENT).status == 200

    junk = url_event("POST", "/", b"{}", {"stripe-signature": "t=1,v1=00", "x-forwarded-for": "198.51.100.9"})
    assert app.handler("stripe-webhook")(junk, Context())["statusCode"] == 429
    junk["requestContext"]["http"]["sourceIp"] = "198.51.100.9"
    assert app.handler("stripe-webhook")(junk, Context())["statusCode"] == 400


def test_without_rate_limits_every_failed_signature_is_400(app: App) -> None:
    """The local stack may do without limits; nobody else may."""
    app.set(RATE_LIMITS="off")
    answers = {app.deliver(EVENT, secret="whsec_wrong").status for _ in range(ALLOWED + 2)}
    assert answers == {400}
    app.set(ENVIRONMENT="prod")
    assert app.deliver(EVENT).status == 500
