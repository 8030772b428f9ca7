"""A GitHub on loopback, which can be away, slow, busy, or forget to answer once it has done the work."""

import http.server
import json
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from local.github import GitHub

REPOSITORY = "example/shop"


@dataclass(frozen=True)
class Fault:
    """What becomes of the next request; `works`: the work is done all the same."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    delay_s: float = 0
    works: bool = False
    method: str = ""


@dataclass
class TrackerServer:
    """A running tracker: its issues, what it was asked, and what is to go wrong next."""

    url: str
    github: GitHub
    asked: list[tuple[str, str, Any]] = field(default_factory=list[tuple[str, str, Any]])
    faults: list[Fault] = field(default_factory=list[Fault])
    authorizations: set[str | None] = field(default_factory=set[str | None])

    @property
    def issues(self) -> list[dict[str, Any]]:
        return self.github.issues.get(REPOSITORY, [])

    def count(self, method: str, path: str = "") -> int:
        """How often something was asked; of any path unless its end is named."""
        return sum(asked[0] == method and asked[1].endswith(path) for asked in self.asked)

    def close(self, number: int) -> None:
        """A person closes an issue."""
        self.github.answer("PATCH", f"/repos/{REPOSITORY}/issues/{number}", {}, {"state": "closed"})


@contextmanager
def tracking() -> Generator[TrackerServer]:
    """A running tracker."""
    one_at_a_time = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            where = urlsplit(self.path)
            fields = json.loads(body) if body else {}
            with one_at_a_time:
                tracker.asked.append((self.command, where.path, fields))
                tracker.authorizations.add(self.headers.get("Authorization"))
                fault = next((f for f in tracker.faults if f.method in ("", self.command)), None)
                if fault:
                    tracker.faults.remove(fault)
                status, answer = 500, {"message": "broken"}
                if fault is None or fault.works:
                    status, answer = tracker.github.answer(
                        self.command, where.path, dict(parse_qsl(where.query)), fields
                    )
            if fault:
                time.sleep(fault.delay_s)
                status = fault.status
            payload = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in (fault.headers if fault else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def do_POST(self) -> None:
            self.do_GET()

        def do_PATCH(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Say nothing: the tests ask what was asked."""

    class Server(http.server.ThreadingHTTPServer):
        # More than ask at a time: a connection that finds no place is tried again a second later.
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    tracker = TrackerServer(f"http://127.0.0.1:{server.server_port}", GitHub())
    tracker.github.url = tracker.url
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield tracker
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
