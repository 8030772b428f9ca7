"""An HTTP endpoint on loopback that keeps what it was sent."""

import http.server
import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """Answers `status`, or the next of `statuses`, after `delay_s`; then one byte a second for `body_s`."""

    url: str
    received: list[Received] = field(default_factory=list[Received])
    statuses: list[int] = field(default_factory=list[int])
    status: int = 200
    delay_s: float = 0
    body_s: int = 0


@contextmanager
def receiving() -> Generator[Receiver]:
    """A running receiver."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            receiver.received.append(Received(self.path, dict(self.headers), body))
            time.sleep(receiver.delay_s)
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else receiver.status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(receiver.body_s))
            self.end_headers()
            with suppress(ConnectionError):
                for _ in range(receiver.body_s):
                    time.sleep(1)
                    self.wfile.write(b".")

        def do_PUT(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Say nothing: the tests ask what was received."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
