"""`sessions`: a bearer token becomes a cookie, and the cookie comes to its end."""

import json
import time
from http.cookies import Morsel, SimpleCookie
from typing import Any

import jwt
import pytest

from functions.sessions.handler import lambda_handler
from local.function_url import answer_of
from tests.support.lambda_events import Answer, Context
from tests.support.sign_in import SECRET, TOKEN_SECRET, configure, key_server, provider_key, request, token


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch)


def call(method: str = "POST", **parts: Any) -> tuple[Answer, list[str]]:
    """The answer, and its Set-Cookie headers as a function URL would send them."""
    answered = lambda_handler(request(method, **parts), Context())
    sent = answer_of(json.dumps(answered).encode())
    return Answer(answered["statusCode"], answered["body"], answered["headers"]), list(sent.cookies)


def set_cookie(cookies: list[str]) -> Morsel[str]:
    """The one cookie of an answer, with its attributes."""
    assert len(cookies) == 1
    jar: SimpleCookie = SimpleCookie(cookies[0])
    assert list(jar) == ["session"]
    return jar["session"]


def session(**claims: object) -> tuple[str, str]:
    """A session's cookie and its CSRF token."""
    answer, cookies = call(bearer=token(**claims))
    assert answer.status == 200
    return set_cookie(cookies).value, answer.body["csrf"]


# Beginning.


def test_a_bearer_token_becomes_a_cookie_that_scripts_and_other_sites_cannot_use() -> None:
    began = int(time.time())
    answer, cookies = call(bearer=token(sub="user-7", role="admin", exp=began + 300))
    took = int(time.time()) - began
    assert answer.status == 200
    assert list(answer.body) == ["csrf"]
    assert answer.headers["Cache-Control"] == "no-store"
    cookie = set_cookie(cookies)
    assert (cookie["httponly"], cookie["secure"], cookie["samesite"]) == (True, True, "Strict")
    assert (cookie["path"], cookie["domain"]) == ("/", "")
    assert 300 - took <= int(cookie["max-age"]) <= 300
    claims = jwt.decode(cookie.value, SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["role"], claims["csrf"]) == ("user-7", "admin", answer.body["csrf"])
    assert cookie.value not in answer.text


def test_the_cookie_ends_no_later_than_the_token() -> None:
    end = int(time.time()) + 40
    cookie, _ = session(exp=end)
    assert jwt.decode(cookie, SECRET, algorithms=["HS256"])["exp"] == end


def test_a_providers_token_becomes_a_cookie_of_the_sites_own(monkeypatch: pytest.MonkeyPatch) -> None:
    key = provider_key("rsa-1")
    with key_server(key) as provider:
        configure(monkeypatch, JWT_SECRET=None, JWT_JWKS_URL=provider.url)
        answer, cookies = call(bearer=key.token())
    assert answer.status == 200
    value = set_cookie(cookies).value
    assert jwt.get_unverified_header(value)["alg"] == "HS256"
    assert call("DELETE", cookie=value)[0].problem == "csrf"
    assert call("DELETE", cookie=value, csrf=answer.body["csrf"])[0].status == 200


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"bearer": "nonsense"},
        {"bearer": ""},
        {"headers": {"authorization": "Basic dXNlcjpwYXNz"}},
        {"cookies": ["session=nonsense"]},
    ],
    ids=str,
)
def test_without_a_good_bearer_token_there_is_no_session(parts: dict[str, Any]) -> None:
    answer, cookies = call(**parts)
    assert (answer.status, answer.problem) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["X-Request-Id"] == answer.body["instance"]
    assert cookies == []


def test_a_session_begins_no_other_session() -> None:
    """It would never end."""
    cookie, csrf = session()
    answer, cookies = call(cookie=cookie, csrf=csrf)
    assert (answer.status, cookies) == (401, [])


def test_a_token_that_is_over_begins_no_session() -> None:
    answer, cookies = call(bearer=token(exp=int(time.time()) - 1))
    assert (answer.status, cookies) == (401, [])


def test_a_provider_that_is_away_is_no_refusal_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, JWT_SECRET=None, JWT_JWKS_URL="http://127.0.0.1:9/keys")
    answer, cookies = call(bearer=provider_key("rsa-1").token())
    assert (answer.status, answer.problem, cookies) == (503, "sign-in-unavailable", [])
    assert int(answer.headers["Retry-After"]) > 0


def test_a_missing_setting_stops_the_function_and_is_named_in_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(monkeypatch, JWT_SECRET=None, TOKEN_SECRET=TOKEN_SECRET)
    answer, _ = call(bearer=token())
    assert (answer.status, answer.problem) == (500, "internal-error")
    assert "JWT_SECRET" not in answer.text


# Ending.


def is_over(cookies: list[str]) -> bool:
    cookie = set_cookie(cookies)
    assert (cookie["httponly"], cookie["secure"], cookie["samesite"]) == (True, True, "Strict")
    assert cookie["path"] == "/"
    return cookie.value == "" and cookie["max-age"] == "0"


def test_a_session_is_ended_with_its_csrf_token() -> None:
    cookie, csrf = session()
    answer, cookies = call("DELETE", cookie=cookie, csrf=csrf)
    assert (answer.status, answer.body) == (200, {"status": "ended"})
    assert is_over(cookies)


@pytest.mark.parametrize("csrf", [None, "", "another"])
def test_another_site_cannot_end_a_session(csrf: str | None) -> None:
    cookie, _ = session()
    answer, cookies = call("DELETE", cookie=cookie, csrf=csrf)
    assert (answer.status, answer.problem, cookies) == (403, "csrf", [])


def test_one_sessions_csrf_token_does_not_end_another() -> None:
    cookie, _ = session()
    _, csrf = session()
    assert call("DELETE", cookie=cookie, csrf=csrf)[0].problem == "csrf"


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"cookie": ""},
        {"cookie": "nonsense"},
        {"cookie": "nonsense", "csrf": "another"},
        {"cookies": ["session=one", "session=two"]},
    ],
    ids=str,
)
def test_ending_what_has_ended_or_never_was_is_no_error(parts: dict[str, Any]) -> None:
    answer, cookies = call("DELETE", **parts)
    assert (answer.status, answer.body) == (200, {"status": "ended"})
    assert is_over(cookies)


def test_a_session_that_is_over_ends_without_its_csrf_token() -> None:
    answer, cookies = call("DELETE", cookie=token(csrf="abc", exp=int(time.time()) - 60))
    assert answer.status == 200
    assert is_over(cookies)


def test_a_bearer_ends_its_session_without_a_csrf_token() -> None:
    cookie, _ = session()
    answer, cookies = call("DELETE", cookie=cookie, bearer=token())
    assert answer.status == 200
    assert is_over(cookies)


# The rest of the door.


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH"])
def test_other_methods_are_refused(method: str) -> None:
    answer, _ = call(method)
    assert (answer.status, answer.problem) == (405, "method-not-allowed")
    assert answer.headers["Allow"] == "DELETE, POST"


def test_another_path_is_not_there() -> None:
    assert call(path="/else", bearer=token())[0].problem == "not-found"


def test_nothing_secret_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    bearer = token(sub="ada@example.com")
    answer, cookies = call(bearer=bearer)
    value, csrf = set_cookie(cookies).value, answer.body["csrf"]
    call("DELETE", cookie=value)
    call("DELETE", cookie=value, csrf=csrf)
    call(bearer=bearer + "x")
    output = capsys.readouterr()
    for secret in (bearer, value, csrf, SECRET, "ada@example.com"):
        assert secret not in output.out + output.err
