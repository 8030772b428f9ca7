"""What holds for every answer of every function."""

import pytest

from tests.support.app import App
from tests.support.lambda_events import Answer
from tests.support.logs import Logs

ROUTES = [
    ("reservations", "GET", "/offerings"),
    ("reservations", "GET", "/slots"),
    ("reservations", "POST", "/reservations"),
    ("create-payment-intent", "POST", "/"),
    ("bookings", "GET", "/bookings/x"),
    ("stripe-webhook", "POST", "/"),
    ("log-error", "POST", "/"),
    ("health", "GET", "/live"),
    ("health", "GET", "/ready"),
]
BODIES = [route for route in ROUTES if route[1] == "POST" and route[0] != "stripe-webhook"]
BODIES.append(("bookings", "POST", "/bookings"))
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")


def problem(answer: Answer, status: int, slug: str) -> None:
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.body
    assert (answer.status, body["type"]) == (status, f"/problems/{slug}")
    assert {"type", "title", "status", "detail", "instance"} <= set(body)
    assert body["status"] == status
    assert body["instance"] == answer.headers["X-Request-Id"]
    assert not any(name.lower().startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize(("function", "method", "path"), ROUTES)
def test_a_wrong_method_is_405(app: App, function: str, method: str, path: str) -> None:
    """Every path, every other method."""
    for other in METHODS:
        if other != method:
            answer = app.call(function, other, path)
            problem(answer, 405, "method-not-allowed")
            assert answer.headers["Allow"] == method


@pytest.mark.parametrize("function", sorted({route[0] for route in ROUTES}))
def test_an_unknown_path_is_404(app: App, function: str) -> None:
    """Every function, whatever the method."""
    for method in METHODS:
        for path in ("/nope", "/nope/more", "/reservations/a/b", "//", "/%2e%2e"):
            problem(app.call(function, method, path, "{}"), 404, "not-found")


@pytest.mark.parametrize(("function", "method", "path"), BODIES)
def test_another_media_type_is_415(app: App, function: str, method: str, path: str) -> None:
    """Every JSON body."""
    problem(
        app.call(function, method, path, "{}", {"content-type": "text/plain"}), 415, "unsupported-media-type"
    )


@pytest.mark.parametrize(("function", "method", "path"), BODIES)
def test_malformed_json_is_400(app: App, function: str, method: str, path: str) -> None:
    """Every JSON body; bytes that are no UTF-8 too."""
    for body in ("{bad", "", b"\xff\xfe", b'{"a": "\xc3"}'):
        problem(app.call(function, method, path, body), 400, "malformed-request")


@pytest.mark.parametrize(("function", "method", "path"), BODIES)
def test_a_body_over_the_limit_is_413(app: App, function: str, method: str, path: str) -> None:
    """Every JSON body."""
    problem(app.call(function, method, path, {"x": "y" * 70_000}), 413, "body-too-large")


@pytest.mark.parametrize(("function", "method", "path"), BODIES)
def test_an_unknown_field_is_422(app: App, function: str, method: str, path: str) -> None:
    """Every JSON body: what nobody asked for is refused, and named."""
    answer = app.call(function, method, path, {"surprise": 1})
    problem(answer, 422, "invalid-request")
    assert "/surprise" in [error["pointer"] for error in answer.body["errors"]]


NEEDED = [
    (("reservations", "GET", "/offerings"), "DATABASE_URL"),
    (("reservations", "GET", "/offerings"), "TOKEN_SECRET"),
    (("reservations", "GET", "/offerings"), "STRIPE_SECRET_KEY"),
    (("stripe-webhook", "POST", "/"), "STRIPE_WEBHOOK_SECRETS"),
    (("health", "GET", "/ready"), "DATABASE_URL"),
]


@pytest.mark.parametrize(("call", "setting"), NEEDED)
def test_a_missing_setting_stops_the_function_with_one_line(
    app: App, logs: Logs, call: tuple[str, str, str], setting: str
) -> None:
    """The first call says which it is, once, and the caller learns nothing."""
    app.unset(setting)
    answer = app.call(*call)
    problem(answer, 500, "internal-error")
    assert setting not in answer.text
    (line,) = logs.lines("CRITICAL", "ERROR")
    assert setting in line["message"]


@pytest.mark.parametrize(
    ("function", "setting"),
    [("reservation-cleanup", "DATABASE_URL"), ("deliver-outbox", "STRIPE_SECRET_KEY")],
)
def test_a_missing_setting_stops_a_run_with_one_line(
    app: App, logs: Logs, function: str, setting: str
) -> None:
    """The same for what a schedule invokes."""
    app.unset(setting)
    with pytest.raises(RuntimeError):
        app.invoke(function)
    (line,) = logs.lines("CRITICAL", "ERROR")
    assert setting in line["message"]


@pytest.mark.parametrize(
    ("function", "method", "path"),
    [("reservations", "GET", "/offerings"), ("reservations", "POST", "/reservations")],
)
def test_the_database_away_is_503(app: App, function: str, method: str, path: str) -> None:
    """503 with Retry-After."""
    body = app.hold_request(app.slot()) if method == "POST" else None
    app.set(DATABASE_URL="postgresql://app@127.0.0.1:9/nowhere")
    answer = app.call(function, method, path, body)
    problem(answer, 503, "database-unavailable")
    assert int(answer.headers["Retry-After"]) > 0
