"""Signing in as a site or an identity provider would have it: tokens, keys, and the address that lists keys."""

import json
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
import pytest
from aws_lambda_powertools.utilities.data_classes import LambdaFunctionUrlEvent
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from runtime import auth, settings
from tests.support.lambda_events import url_event

SECRET = "the-secret-that-the-site-and-its-tokens-share"
TOKEN_SECRET = "a-token-secret-of-the-tests"


def claims(**changes: object) -> dict[str, object]:
    """A customer's claims, good for longer than all tests take; a change to None takes a claim away."""
    given = {"sub": "user-1", "role": "customer", "exp": int(time.time()) + 86400, **changes}
    return {name: value for name, value in given.items() if value is not None}


def token(secret: str = SECRET, /, **changes: object) -> str:
    """A token that the site has signed (HS256)."""
    return jwt.encode(claims(**changes), secret, algorithm="HS256")


@dataclass(frozen=True)
class ProviderKey:
    """A key pair of an identity provider."""

    key_id: str
    algorithm: str
    private: Any

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half as the provider lists it."""
        algorithm = RSAAlgorithm if self.algorithm.startswith("RS") else ECAlgorithm
        public: dict[str, Any] = algorithm.to_jwk(self.private.public_key(), as_dict=True)
        return public | {"kid": self.key_id, "alg": self.algorithm, "use": "sig"}

    @property
    def pem(self) -> str:
        """The public half as text that anybody can have."""
        return (
            self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        )

    def token(self, *, headers: Mapping[str, Any] | None = None, **changes: object) -> str:
        """A token that the provider has signed."""
        named = {"kid": self.key_id, **(headers or {})}
        return jwt.encode(claims(**changes), self.private, algorithm=self.algorithm, headers=named)


@cache
def provider_key(key_id: str, algorithm: str = "RS256") -> ProviderKey:
    """The one key of this name and algorithm; made once, because RSA takes its time."""
    if algorithm.startswith("RS"):
        return ProviderKey(key_id, algorithm, rsa.generate_private_key(65537, 2048))
    return ProviderKey(key_id, algorithm, ec.generate_private_key(ec.SECP256R1()))


@dataclass
class KeyServer:
    """An identity provider's list of keys over HTTP; `asked` counts who looked."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes | None = None
    delay_s: float = 0
    asked: int = 0

    def lists(self, *keys: ProviderKey) -> None:
        """From now on these keys are listed, and no other."""
        self.keys = [key.jwk for key in keys]


@contextmanager
def key_server(*keys: ProviderKey) -> Generator[KeyServer]:
    """Serves `/keys` on a port of its own."""
    state = KeyServer()
    state.lists(*keys)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked += 1
            time.sleep(state.delay_s)
            body = json.dumps({"keys": state.keys}).encode() if state.body is None else state.body
            try:
                self.send_response(state.status)
                for name, value in {"Content-Length": str(len(body)), **state.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError:
                return  # whoever asked has not waited

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the parent
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/keys"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


def configure(patch: pytest.MonkeyPatch, **environment: str | None) -> None:
    """The surroundings of a function that asks who calls; None takes a setting away."""
    given = {
        "JWT_SECRET": SECRET,
        "TOKEN_SECRET": TOKEN_SECRET,
        "JWT_JWKS_URL": None,
        "JWT_AUDIENCE": None,
        "JWT_ISSUER": None,
        **environment,
    }
    for name, value in given.items():
        if value is None:
            patch.delenv(name, raising=False)
        else:
            patch.setenv(name, value)
    settings._load.cache_clear()
    auth._key_set.cache_clear()


def request(
    method: str = "GET",
    path: str = "/",
    *,
    bearer: str | None = None,
    cookie: str | None = None,
    cookies: Sequence[str] = (),
    csrf: str | None = None,
    query: str = "",
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A function URL's event, signed in by token or cookie; `cookies` come beside the session's, as they are."""
    given = dict(headers or {})
    if bearer is not None:
        given["authorization"] = f"Bearer {bearer}"
    if csrf is not None:
        given["x-csrf-token"] = csrf
    event = url_event(method, path, headers=given, query=query)
    sent = [*cookies, *([f"session={cookie}"] if cookie is not None else [])]
    return event | ({"cookies": sent} if sent else {})


def url_request(**parts: Any) -> LambdaFunctionUrlEvent:
    """The same as routes see it."""
    return LambdaFunctionUrlEvent(request(**parts))
