"""Who calls, under the public keys that an identity provider lists at an address of its own."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Generator
from typing import Any

import jwt
import pytest

from domain.identity import session_key
from domain.refusals import SignInUnavailable, Unauthenticated
from runtime.auth import begin_session, signed_in
from runtime.jwks import ASK_AGAIN_EMPTY_SECONDS, ASK_AGAIN_SECONDS, FRESH_SECONDS, TRUSTED_SECONDS, KeySet
from tests.support.sign_in import (
    SECRET,
    TOKEN_SECRET,
    KeyServer,
    ProviderKey,
    claims,
    configure,
    key_server,
    provider_key,
    token,
    url_request,
)

RSA, EC = provider_key("rsa-1"), provider_key("ec-1", "ES256")
NEW = provider_key("rsa-2")


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Generator[KeyServer]:
    """An identity provider with one key of each kind; the site has no secret for tokens."""
    with key_server(RSA, EC) as server:
        configure(monkeypatch, JWT_SECRET=None, JWT_JWKS_URL=server.url)
        yield server


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def key_set(provider: KeyServer, clock: Clock) -> KeySet:
    return KeySet(provider.url, clock)


def knows(key_set: KeySet, key: ProviderKey) -> bool:
    return key_set.key(key.key_id, key.algorithm) is not None


# Tokens.


@pytest.mark.parametrize("key", [RSA, EC], ids=["RS256", "ES256"])
def test_the_providers_token_says_who_calls(provider: KeyServer, key: ProviderKey) -> None:
    assert signed_in(url_request(bearer=key.token(sub="user-7", role="admin"))).user_id == "user-7"
    assert signed_in(url_request(cookie=key.token(sub="user-8"))).user_id == "user-8"
    assert provider.asked == 1


def signed_with_public_key(key: ProviderKey, public: str, **header: object) -> str:
    """The classic confusion: a public key, which everybody has, used as an HMAC secret."""
    parts = [{"typ": "JWT", "kid": key.key_id, **header}, claims(role="admin")]
    text = ".".join(
        base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts
    )
    digest = hmac.new(public.encode(), text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


IMPOSTOR_RSA = provider_key("impostor")
IMPOSTOR_EC = provider_key("impostor", "ES256")
REFUSED: dict[str, Any] = {
    "HS256 with the public key as the secret": lambda: signed_with_public_key(RSA, RSA.pem, alg="HS256"),
    "RS256 by name, HMAC with the public key": lambda: signed_with_public_key(RSA, RSA.pem, alg="RS256"),
    "HS256 with the listed key as the secret": lambda: signed_with_public_key(
        RSA, json.dumps(RSA.jwk), alg="HS256"
    ),
    "alg none": lambda: jwt.encode(claims(), "", algorithm="none", headers={"kid": RSA.key_id}),
    "HS256 under the secret of other sites": lambda: token(SECRET),
    "HS256 under the key of session cookies": lambda: token(session_key(TOKEN_SECRET)),
    "RS256 of another key under this name": lambda: IMPOSTOR_RSA.token(headers={"kid": RSA.key_id}),
    "ES256 of another key under this name": lambda: IMPOSTOR_EC.token(headers={"kid": EC.key_id}),
    "ES256 under an RSA key's name": lambda: EC.token(headers={"kid": RSA.key_id}),
    "RS256 under an EC key's name": lambda: RSA.token(headers={"kid": EC.key_id}),
    "RS512 of the right key": lambda: jwt.encode(
        claims(), RSA.private, algorithm="RS512", headers={"kid": RSA.key_id}
    ),
    "PS256 of the right key": lambda: jwt.encode(
        claims(), RSA.private, algorithm="PS256", headers={"kid": RSA.key_id}
    ),
    "no kid": lambda: jwt.encode(claims(), RSA.private, algorithm="RS256"),
    "unknown kid": lambda: RSA.token(headers={"kid": "nobody's"}),
    "a key that it brings itself": lambda: IMPOSTOR_RSA.token(headers={"jwk": IMPOSTOR_RSA.jwk}),
    "over": lambda: RSA.token(exp=int(time.time()) - 60),
    "no exp": lambda: RSA.token(exp=None),
    "no role": lambda: RSA.token(role=None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_token_signs_nobody_in(provider: KeyServer, name: str) -> None:
    bad = REFUSED[name]()
    with pytest.raises(Unauthenticated):
        signed_in(url_request(bearer=bad))
    assert provider.asked <= 1


def test_the_address_of_keys_that_a_token_brings_is_not_asked(provider: KeyServer) -> None:
    with key_server(IMPOSTOR_RSA) as elsewhere:
        brought = {"jku": elsewhere.url, "x5u": elsewhere.url}
        with pytest.raises(Unauthenticated):
            signed_in(url_request(bearer=IMPOSTOR_RSA.token(headers=brought)))
        assert elsewhere.asked == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"},
        {"alg": "RS512"},
        {"kid": None},
        {"n": "!"},
    ],
    ids=str,
)
def test_a_listed_key_that_is_not_for_signing_as_we_do_is_passed_over(
    provider: KeyServer, changes: dict[str, object]
) -> None:
    changed = {name: value for name, value in (RSA.jwk | changes).items() if value is not None}
    provider.keys = [changed, EC.jwk]
    assert signed_in(url_request(bearer=EC.token()))
    with pytest.raises(Unauthenticated):
        signed_in(url_request(bearer=RSA.token()))
    with pytest.raises(Unauthenticated):
        signed_in(url_request(bearer=token("secret" * 8, sub="x")))


def test_a_listed_key_need_not_name_its_algorithm(provider: KeyServer) -> None:
    provider.keys = [{name: value for name, value in key.jwk.items() if name != "alg"} for key in (RSA, EC)]
    assert signed_in(url_request(bearer=RSA.token()))
    assert signed_in(url_request(bearer=EC.token()))


# The site's own sessions.


def test_a_session_is_signed_with_a_key_of_the_sites_own(provider: KeyServer) -> None:
    cookie, session = begin_session(signed_in(url_request(bearer=RSA.token(role="admin"))))
    assert jwt.get_unverified_header(cookie)["alg"] == "HS256"
    assert jwt.decode(cookie, session_key(TOKEN_SECRET), algorithms=["HS256"])["role"] == "admin"
    assert signed_in(url_request(cookie=cookie)) == session


def test_a_session_is_no_bearer_token(provider: KeyServer) -> None:
    """Its key is derived for the cookie, where changes need the CSRF token too."""
    cookie, _ = begin_session(signed_in(url_request(bearer=RSA.token())))
    with pytest.raises(Unauthenticated):
        signed_in(url_request(bearer=cookie))


def test_sessions_outlive_the_providers_absence(provider: KeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    cookie, session = begin_session(signed_in(url_request(bearer=RSA.token())))
    configure(monkeypatch, JWT_SECRET=None, JWT_JWKS_URL="http://127.0.0.1:9/keys")
    assert signed_in(url_request(cookie=cookie)) == session


def test_secret_and_key_set_may_stand_side_by_side(
    provider: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each verifies the algorithms that it is for, and no other."""
    configure(monkeypatch, JWT_JWKS_URL=provider.url)
    assert signed_in(url_request(bearer=token()))
    assert signed_in(url_request(bearer=RSA.token()))
    with pytest.raises(Unauthenticated):
        signed_in(url_request(bearer=signed_with_public_key(RSA, RSA.pem, alg="HS256")))


# Away.


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 500},
        {"status": 404},
        {"body": b"<html>moved</html>"},
        {"body": b"[]"},
        {"body": b'{"keys": []}'},
        {"body": b'{"keys": [1, "a", {}]}'},
        {"body": b'{"keys": {"a": 1}}'},
        {"body": b"\xff\xfe"},
        {"body": b" " * 600_000 + b'{"keys": []}'},
        {"body": b'{"keys": ['},
    ],
    ids=lambda trouble: str(trouble)[:40],
)
def test_a_provider_in_trouble_is_not_the_callers_fault(provider: KeyServer, trouble: dict[str, Any]) -> None:
    for name, value in trouble.items():
        setattr(provider, name, value)
    with pytest.raises(SignInUnavailable):
        signed_in(url_request(bearer=RSA.token()))


def test_a_redirect_is_not_followed(provider: KeyServer) -> None:
    with key_server(RSA) as elsewhere:
        provider.status, provider.headers = 302, {"Location": elsewhere.url}
        with pytest.raises(SignInUnavailable):
            signed_in(url_request(bearer=RSA.token()))
        assert elsewhere.asked == 0


def test_nobody_waits_long_for_a_silent_provider(provider: KeyServer) -> None:
    provider.delay_s = 8
    started = time.monotonic()
    with pytest.raises(SignInUnavailable):
        signed_in(url_request(bearer=RSA.token()))
    with pytest.raises(SignInUnavailable):
        signed_in(url_request(bearer=RSA.token()))
    assert time.monotonic() - started < 7
    assert provider.asked == 1


def test_a_provider_that_is_gone_is_not_the_callers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with key_server(RSA) as server:
        configure(monkeypatch, JWT_SECRET=None, JWT_JWKS_URL=server.url)
    with pytest.raises(SignInUnavailable):
        signed_in(url_request(bearer=RSA.token()))


# When the provider is asked.


def test_keys_are_fetched_once(provider: KeyServer, key_set: KeySet, clock: Clock) -> None:
    for _ in range(20):
        assert knows(key_set, RSA)
        assert knows(key_set, EC)
        clock.now += FRESH_SECONDS / 21
    assert provider.asked == 1


def test_a_new_key_is_found_when_a_token_names_it(provider: KeyServer, key_set: KeySet, clock: Clock) -> None:
    assert knows(key_set, RSA)
    provider.lists(RSA, NEW)
    clock.now += ASK_AGAIN_SECONDS
    assert knows(key_set, NEW)
    assert knows(key_set, RSA)
    assert provider.asked == 2


def test_invented_keys_are_worth_one_request_a_minute(
    provider: KeyServer, key_set: KeySet, clock: Clock
) -> None:
    assert knows(key_set, RSA)
    for second in range(180):
        clock.now = 1_000.0 + second
        assert key_set.key(f"invented-{second}", "RS256") is None
    assert provider.asked == 3


def test_nonsense_is_worth_none(provider: KeyServer, key_set: KeySet) -> None:
    for key_id, algorithm in [
        (None, "RS256"),
        (7, "RS256"),
        ("rsa-1", "HS256"),
        ("rsa-1", "none"),
        ("rsa-1", None),
    ]:
        assert key_set.key(key_id, algorithm) is None
    assert provider.asked == 0


def test_a_withdrawn_key_is_trusted_for_ten_minutes_at_most(
    provider: KeyServer, key_set: KeySet, clock: Clock
) -> None:
    assert knows(key_set, RSA)
    provider.lists(NEW)
    clock.now += FRESH_SECONDS - 1
    assert knows(key_set, RSA)
    clock.now += 1
    assert not knows(key_set, RSA)
    assert knows(key_set, NEW)


def test_known_keys_serve_for_an_hour_while_the_provider_is_away(
    provider: KeyServer, key_set: KeySet, clock: Clock
) -> None:
    assert knows(key_set, RSA)
    provider.status = 500
    clock.now += TRUSTED_SECONDS - 1
    assert knows(key_set, RSA)
    assert provider.asked == 2
    clock.now += 1
    with pytest.raises(SignInUnavailable):
        knows(key_set, RSA)


def test_an_unknown_key_is_no_verdict_while_the_provider_is_away(
    provider: KeyServer, key_set: KeySet, clock: Clock
) -> None:
    """It may be the new one: the caller is told to come again, and the known keys go on."""
    assert knows(key_set, RSA)
    provider.status = 500
    clock.now += ASK_AGAIN_SECONDS
    for _ in range(2):
        with pytest.raises(SignInUnavailable):
            knows(key_set, NEW)
        assert knows(key_set, RSA)
    assert provider.asked == 2
    provider.status = 200
    provider.lists(RSA, NEW)
    clock.now += ASK_AGAIN_SECONDS
    assert knows(key_set, NEW)


def test_without_a_single_key_the_provider_is_asked_again_soon(
    provider: KeyServer, key_set: KeySet, clock: Clock
) -> None:
    provider.status = 500
    for _ in range(3):
        with pytest.raises(SignInUnavailable):
            knows(key_set, RSA)
    assert provider.asked == 1
    provider.status = 200
    clock.now += ASK_AGAIN_EMPTY_SECONDS
    assert knows(key_set, RSA)
    assert provider.asked == 2
