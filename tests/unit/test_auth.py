"""Who calls, under a secret that the site shares with whoever signs its tokens."""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from domain.identity import Caller, Role, session_key
from domain.refusals import Csrf, Forbidden, Unauthenticated
from runtime.auth import AuthSettings, begin_session, by_bearer, require_admin, signed_in
from runtime.settings import MissingSetting, load
from tests.support.sign_in import (
    SECRET,
    TOKEN_SECRET,
    claims,
    configure,
    provider_key,
    token,
    url_request,
)

ROOT = Path(__file__).resolve().parents[2]
OTHER_SECRET = "a-secret-that-nobody-here-has-ever-heard-of"
CHANGING = ["POST", "PUT", "PATCH", "DELETE"]


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch)


def part(content: object) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def forged(header: object, payload: object, key: str | None = None) -> str:
    """A token put together by hand; signed with HMAC-SHA256 where there is a key."""
    signing_input = f"{part(header)}.{part(payload)}"
    if key is None:
        return f"{signing_input}."
    digest = hmac.new(key.encode(), signing_input.encode(), hashlib.sha256).digest()
    return f"{signing_input}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


# Bearer tokens.


def test_a_bearer_token_says_who_calls() -> None:
    end = int(time.time()) + 300
    caller = signed_in(url_request(bearer=token(sub="user-7", role="admin", exp=end)))
    assert caller == Caller("user-7", Role.ADMIN, end)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_read_in_any_case(scheme: str) -> None:
    event = url_request(headers={"authorization": f"{scheme} {token()}"})
    assert signed_in(event).user_id == "user-1"


def test_a_token_forged_by_hand_under_the_right_key_is_one_like_any_other() -> None:
    """The control of the forgeries below: it is their content that is refused, not their making."""
    made = forged({"alg": "HS256", "typ": "JWT"}, claims(), SECRET)
    assert signed_in(url_request(bearer=made)).user_id == "user-1"


REFUSED: dict[str, Any] = {
    "another secret's": lambda: token(OTHER_SECRET),
    "alg none, no signature": lambda: forged({"alg": "none", "typ": "JWT"}, claims()),
    "alg None in capitals": lambda: forged({"alg": "None", "typ": "JWT"}, claims()),
    "alg none, signed all the same": lambda: forged({"alg": "none"}, claims(), SECRET),
    "no alg": lambda: forged({"typ": "JWT"}, claims(), SECRET),
    "alg a list": lambda: forged({"alg": ["HS256"]}, claims(), SECRET),
    "signature cut off": lambda: token().rsplit(".", 1)[0] + ".",
    "HS512 under the same secret": lambda: jwt.encode(claims(), SECRET + SECRET, algorithm="HS512"),
    "HS384 header over an HS256 signature": lambda: forged({"alg": "HS384"}, claims(), SECRET),
    "RS256 where a secret is pinned": lambda: provider_key("one").token(),
    "ES256 where a secret is pinned": lambda: provider_key("two", "ES256").token(),
    "a reservation token's key": lambda: token(TOKEN_SECRET + "-and-five-more"),
    "the session's derived key, while there is a secret": lambda: token(session_key(TOKEN_SECRET)),
    "over": lambda: token(exp=int(time.time()) - 11),
    "over for a year": lambda: token(exp=int(time.time()) - 31_536_000),
    "not valid yet": lambda: token(nbf=int(time.time()) + 120),
    "issued in the future": lambda: token(iat=int(time.time()) + 120),
    "no exp": lambda: token(exp=None),
    "exp no number": lambda: token(exp="soon"),
    "no sub": lambda: token(sub=None),
    "sub empty": lambda: token(sub=""),
    "sub too long": lambda: token(sub="x" * 256),
    "sub with a line break": lambda: token(sub="user-1\nadmin"),
    "no role": lambda: token(role=None),
    "unknown role": lambda: token(role="superuser"),
    "role in capitals": lambda: token(role="Admin"),
    "role a list": lambda: token(role=["admin"]),
    "role an object": lambda: token(role={"admin": True}),
    "empty": lambda: "",
    "no token": lambda: "nonsense",
    "two parts": lambda: "a.b",
    "five parts": lambda: "a.b.c.d.e",
    "payload no object": lambda: forged({"alg": "HS256"}, "[]", SECRET),
    "header no object": lambda: forged("[]", claims(), SECRET),
    "header nested without end": lambda: forged("[" * 200_000, claims(), SECRET),
    "header of an endless number": lambda: forged('{"alg":' + "1" * 5000 + "}", claims(), SECRET),
    "not ASCII": lambda: "é" + token(),
    "two tokens": lambda: f"{token()} {token()}",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_token_signs_nobody_in(name: str) -> None:
    """As a bearer token and in the cookie alike."""
    bad = REFUSED[name]()
    with pytest.raises(Unauthenticated):
        signed_in(url_request(bearer=bad))
    with pytest.raises(Unauthenticated):
        signed_in(url_request(cookie=bad))


def test_a_changed_claim_breaks_the_signature() -> None:
    header, _, signature = token().split(".")
    with pytest.raises(Unauthenticated):
        signed_in(url_request(bearer=f"{header}.{part(claims(role='admin'))}.{signature}"))


def test_a_public_key_as_the_secret_is_refused_before_any_token_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can read the public key could otherwise sign."""
    configure(monkeypatch, JWT_SECRET=provider_key("one").pem)
    with pytest.raises(MissingSetting, match=r"^JWT_SECRET: .*PEM"):
        signed_in(url_request(bearer=token()))


def test_clocks_may_differ_by_a_few_seconds() -> None:
    now = int(time.time())
    assert signed_in(url_request(bearer=token(exp=now - 2, nbf=now + 2, iat=now + 2)))


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Basic dXNlcjpwYXNz"}, {"authorization": "nonsense"}]
)
def test_nobody_is_signed_in_without_token_and_cookie(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated):
        signed_in(url_request(headers=headers))
    assert by_bearer(url_request(headers=headers)) is None


# Audience and issuer.


@pytest.mark.parametrize(
    ("setting", "claim", "wrong"),
    [
        ("JWT_AUDIENCE", "aud", "another-site"),
        ("JWT_AUDIENCE", "aud", ["another-site", "a-third"]),
        ("JWT_AUDIENCE", "aud", None),
        ("JWT_ISSUER", "iss", "https://elsewhere.example"),
        ("JWT_ISSUER", "iss", None),
    ],
    ids=str,
)
def test_audience_and_issuer_are_checked_where_they_are_set(
    monkeypatch: pytest.MonkeyPatch, setting: str, claim: str, wrong: object
) -> None:
    configure(monkeypatch, **{setting: "https://ours.example"})
    assert signed_in(url_request(bearer=token(**{claim: "https://ours.example"})))
    with pytest.raises(Unauthenticated):
        signed_in(url_request(bearer=token(**{claim: wrong})))


def test_one_of_several_audiences_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, JWT_AUDIENCE="holdfast")
    assert signed_in(url_request(bearer=token(aud=["another-site", "holdfast"])))


def test_audience_and_issuer_are_ignored_where_they_are_not_set() -> None:
    assert signed_in(url_request(bearer=token(aud="anybody", iss="https://anywhere.example")))


# The cookie.


def test_the_cookie_says_who_calls() -> None:
    caller = signed_in(url_request(cookie=token(csrf="abc"), cookies=["theme=dark", "sessions=no"]))
    assert (caller.user_id, caller.csrf) == ("user-1", "abc")


@pytest.mark.parametrize("method", CHANGING)
def test_a_change_by_cookie_needs_the_sessions_csrf_token(method: str) -> None:
    cookie = token(csrf="the-one")
    assert signed_in(url_request(method=method, cookie=cookie, csrf="the-one"))
    for wrong in (None, "", "another", "the-on", "the-one ", "THE-ONE", "thé-one"):
        with pytest.raises(Csrf):
            signed_in(url_request(method=method, cookie=cookie, csrf=wrong))


@pytest.mark.parametrize("claim", [None, "", 7, ["the-one"]], ids=repr)
@pytest.mark.parametrize("given", [None, "", "the-one", "None", "7"], ids=repr)
def test_a_cookie_without_a_csrf_claim_changes_nothing(claim: object, given: str | None) -> None:
    cookie = token(csrf=claim)
    assert signed_in(url_request(cookie=cookie))
    with pytest.raises(Csrf):
        signed_in(url_request(method="POST", cookie=cookie, csrf=given))


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_by_cookie_needs_no_csrf_token(method: str) -> None:
    assert signed_in(url_request(method=method, cookie=token(csrf="abc")))


@pytest.mark.parametrize("method", CHANGING)
def test_a_bearer_token_needs_no_csrf_token(method: str) -> None:
    assert signed_in(url_request(method=method, bearer=token(csrf="abc")))


def test_a_bearer_token_wins_over_the_cookie() -> None:
    event = url_request(
        method="POST", bearer=token(sub="by-token"), cookie=token(sub="by-cookie", csrf="abc")
    )
    assert signed_in(event).user_id == "by-token"


def test_a_bad_bearer_token_is_not_made_good_by_the_cookie() -> None:
    with pytest.raises(Unauthenticated):
        signed_in(url_request(bearer="nonsense", cookie=token(csrf="abc"), csrf="abc"))


def test_another_scheme_leaves_the_cookie_and_its_csrf_token_in_force() -> None:
    headers = {"authorization": "Basic dXNlcjpwYXNz"}
    assert signed_in(url_request(headers=headers, cookie=token(csrf="abc")))
    with pytest.raises(Csrf):
        signed_in(url_request(method="POST", headers=headers, cookie=token(csrf="abc")))


def test_two_different_sessions_are_none() -> None:
    """A neighbouring site can plant a cookie: which of two is the visitor's own cannot be told."""
    mine, planted = token(csrf="abc"), token(sub="attacker", csrf="def")
    with pytest.raises(Unauthenticated):
        signed_in(url_request(cookie=mine, cookies=[f"session={planted}"]))
    assert signed_in(url_request(cookie=mine, cookies=[f"session={mine}"]))


# Roles.


def test_an_administrators_door_opens_to_administrators_alone() -> None:
    assert require_admin(url_request(bearer=token(role="admin"))).role is Role.ADMIN
    with pytest.raises(Forbidden):
        require_admin(url_request(bearer=token(role="customer")))
    with pytest.raises(Unauthenticated):
        require_admin(url_request())


# Sessions.


def test_a_session_is_its_bearers_own_and_ends_no_later() -> None:
    end = int(time.time()) + 90
    bearer = signed_in(url_request(bearer=token(sub="user-7", role="admin", exp=end)))
    cookie, session = begin_session(bearer)
    assert signed_in(url_request(cookie=cookie)) == session
    assert (session.user_id, session.role, session.expires_at) == ("user-7", Role.ADMIN, end)
    assert session.csrf is not None
    assert len(session.csrf) >= 32


def test_a_session_lasts_twelve_hours_at_most() -> None:
    bearer = signed_in(url_request(bearer=token(exp=int(time.time()) + 30 * 24 * 3600)))
    _, session = begin_session(bearer)
    assert session.expires_at == pytest.approx(time.time() + 12 * 3600, abs=5)


def test_no_session_is_begun_in_the_last_seconds_that_only_the_leeway_grants() -> None:
    bearer = signed_in(url_request(bearer=token(exp=int(time.time()) - 2)))
    with pytest.raises(Unauthenticated):
        begin_session(bearer)


def test_each_session_has_a_csrf_token_of_its_own() -> None:
    bearer = signed_in(url_request(bearer=token()))
    assert begin_session(bearer)[1].csrf != begin_session(bearer)[1].csrf


def test_a_session_passes_the_audience_and_issuer_that_tokens_must_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure(monkeypatch, JWT_AUDIENCE="holdfast", JWT_ISSUER="https://ours.example")
    bearer = signed_in(url_request(bearer=token(aud="holdfast", iss="https://ours.example")))
    cookie, session = begin_session(bearer)
    assert signed_in(url_request(cookie=cookie)) == session


# Settings.


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"JWT_SECRET": None}, "JWT_SECRET"),
        ({"JWT_SECRET": "x" * 31}, "JWT_SECRET"),
        (
            {"JWT_SECRET": None, "JWT_JWKS_URL": "https://idp.example/keys", "TOKEN_SECRET": None},
            "TOKEN_SECRET",
        ),
        ({"TOKEN_SECRET": "short"}, "TOKEN_SECRET"),
        ({"JWT_JWKS_URL": "file:///etc/passwd"}, "JWT_JWKS_URL"),
        ({"JWT_JWKS_URL": "http://idp.example/keys", "ENVIRONMENT": "prod"}, "JWT_JWKS_URL"),
    ],
    ids=str,
)
def test_a_missing_or_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str | None], named: str
) -> None:
    configure(monkeypatch, **environment)
    with pytest.raises(MissingSetting, match=f"^{named}: "):
        load(AuthSettings)


def test_what_is_wrong_with_the_settings_is_said_to_whoever_comes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not first to somebody who has a token."""
    configure(monkeypatch, JWT_SECRET="short")
    with pytest.raises(MissingSetting, match=r"^JWT_SECRET: "):
        signed_in(url_request())


def test_a_secret_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, TOKEN_SECRET=None)
    assert next(load(AuthSettings).session_keys()) == SECRET


# What it costs those who do not ask.


def imported_by(script: str, **environment: str) -> set[str]:
    """The modules that a fresh process has after a script."""
    paths = [ROOT, ROOT / "shared", ROOT / "layers/postgres", ROOT / "layers/stripe"]
    surroundings = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "ENVIRONMENT": "local",
        "POWERTOOLS_SERVICE_NAME": "tests",
        "POWERTOOLS_METRICS_NAMESPACE": "Holdfast",
        **environment,
    }
    command = [sys.executable, "-c", f"{script}\nimport sys; print(*sys.modules)"]
    answer = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True)
    return {module.split(".")[0] for module in answer.stdout.split()}


SIGN_IN = """
from aws_lambda_powertools.utilities.data_classes import LambdaFunctionUrlEvent
from domain.refusals import Unauthenticated
from runtime.auth import signed_in
import os, json
try:
    signed_in(LambdaFunctionUrlEvent(json.loads(os.environ["EVENT"])))
except Unauthenticated:
    print("refused")
"""


@pytest.mark.parametrize(
    "function",
    [
        "reservations",
        "create_payment_intent",
        "stripe_webhook",
        "log_error",
        "health",
        "sessions",
        "bookings",
        "admin",
    ],
)
def test_no_function_imports_tokens_before_the_first_comes(function: str) -> None:
    assert not {"jwt", "cryptography"} & imported_by(f"import functions.{function}.handler")


def test_a_shared_secret_is_verified_without_the_cryptography_package() -> None:
    event = json.dumps({**url_request(bearer=token()).raw_event})
    modules = imported_by(SIGN_IN, JWT_SECRET=SECRET, EVENT=event)
    assert "jwt" in modules
    assert "refused" not in modules
    assert "cryptography" not in modules


def test_public_keys_bring_the_cryptography_package() -> None:
    event = json.dumps({**url_request(bearer=token()).raw_event})
    modules = imported_by(
        SIGN_IN, JWT_JWKS_URL="http://127.0.0.1:9/keys", TOKEN_SECRET=TOKEN_SECRET, EVENT=event
    )
    assert {"jwt", "cryptography", "refused"} <= modules
