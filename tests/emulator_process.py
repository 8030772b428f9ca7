"""The emulator as a process of its own, and an endpoint that records the events it delivers."""

import http.server
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import stripe

from local.child import bound_command

SECRET_KEY = "sk_test_emulated0123456789"
WEBHOOK_SECRET = "whsec_emulated"
_REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass
class Endpoint:
    """A webhook endpoint: answers `status`, or the next of `statuses`, while `answering`; keeps what it was sent."""

    url: str
    received: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    statuses: list[int] = field(default_factory=list[int])
    status: int = 200
    answering: threading.Event = field(default_factory=threading.Event)

    def events(self) -> list[Any]:
        """The deliveries as events, in the order of their arrival."""
        return [json.loads(payload) for _, payload in list(self.received)]

    def of(self, object_id: str) -> list[str]:
        """The types of the events delivered about one object."""
        return [event["type"] for event in self.events() if event["data"]["object"]["id"] == object_id]


@contextmanager
def endpoint(port: int = 0) -> Generator[Endpoint]:
    """A running webhook endpoint on loopback."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            payload = self.rfile.read(int(self.headers["Content-Length"]))
            status = recorder.statuses.pop(0) if recorder.statuses else recorder.status
            recorder.received.append((self.headers["Stripe-Signature"], payload))
            recorder.answering.wait()
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Say nothing: the tests ask what was received."""

    class Server(http.server.ThreadingHTTPServer):
        # More than the emulator sends at a time: a connection that finds no place is tried again a second later.
        request_queue_size = 128

    server = Server(("127.0.0.1", port), Handler)
    recorder = Endpoint(f"http://127.0.0.1:{server.server_port}/stripe-webhook")
    recorder.answering.set()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield recorder
    finally:
        recorder.answering.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Emulator:
    """A running emulator."""

    url: str
    process: subprocess.Popen[str]
    session: requests.Session

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rpartition(":")[2])

    def client(self, *, key: str = SECRET_KEY, retries: int = 0) -> stripe.StripeClient:
        """Stripe's SDK, pointed at the emulator."""
        return stripe.StripeClient(
            key,
            base_addresses={"api": self.url},
            max_network_retries=retries,
            http_client=stripe.RequestsClient(timeout=20, session=self.session),
        )

    def call(
        self, method: str, path: str, document: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers of a plain request; a mapping is sent as JSON, a string as a form."""
        body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
        kind = "application/x-www-form-urlencoded" if isinstance(document, str) else "application/json"
        request = urllib.request.Request(  # noqa: S310 - the emulator's own loopback address
            self.url + path,
            data=None if document is None else body,
            method=method,
            headers={"Content-Type": kind, **(headers or {})},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 - as above
                return response.status, _parsed(response.read()), dict(response.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _parsed(error.read()), dict(error.headers)

    def api(
        self, method: str, path: str, form: str = "", *, key: str | None = None, secret: str = SECRET_KEY
    ) -> tuple[int, Any, dict[str, str]]:
        """The same with the account's key, and an idempotency key where given."""
        headers = {"Authorization": f"Bearer {secret}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.call(method, path, form or None, headers)

    def act(self, path: str, **given: object) -> tuple[int, Any]:
        """Status and body of a control that acts, its path below /_emulator."""
        status, body, _ = self.call("POST", f"/_emulator{path}", given)
        return status, body

    def faults(self, **script: object) -> None:
        """Replace the fault script."""
        status, body, _ = self.call("PUT", "/_emulator/faults", script)
        assert status == 200, body

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.process.wait()


@contextmanager
def emulator(
    state: Path, *, webhook_url: str | None = None, port: int = 0, more: tuple[str, ...] = ()
) -> Generator[Emulator]:
    """A running emulator over the state in a directory."""
    command = [sys.executable, "-m", "local.stripe_emulator", "--state", str(state), "--port", str(port)]
    command += ["--secret-key", SECRET_KEY, *more]
    if webhook_url is not None:
        command += ["--webhook-url", webhook_url, "--webhook-secret", WEBHOOK_SECRET]
    path = os.pathsep.join([str(_REPOSITORY), str(_REPOSITORY / "shared")])
    process = subprocess.Popen(
        bound_command(command),
        env=os.environ | {"PYTHONPATH": path},
        cwd=_REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        ready = process.stdout.readline().split()
        assert ready[:1] == ["ready"], "the emulator did not start"
        with requests.Session() as session:
            yield Emulator(ready[1], process, session)
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def eventually(holds: Callable[[], object], *, within: float = 30) -> None:
    """Wait until something holds; fails after `within` seconds."""
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()
