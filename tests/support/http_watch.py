"""Sees every HTTP request that is sent while a unit of work is open in the same thread."""

import http.client
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from database.connection import in_unit_of_work


class HttpWatch:
    """The requests that must not have been sent, as `METHOD path`."""

    def __init__(self) -> None:
        self.inside: list[str] = []

    def check(self) -> None:
        """Fails the test if there were any."""
        sent, self.inside = self.inside, []
        assert not sent, f"sent while a transaction was open: {sent}"


@contextmanager
def watching_http() -> Generator[HttpWatch]:
    """Watches below every HTTP library that builds on http.client: requests, urllib3, urllib, botocore, stripe."""
    watch = HttpWatch()
    put_request = http.client.HTTPConnection.putrequest

    def watched(self: http.client.HTTPConnection, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        if in_unit_of_work():
            watch.inside.append(f"{method} {url}")
        put_request(self, method, url, *args, **kwargs)

    http.client.HTTPConnection.putrequest = watched
    try:
        yield watch
    finally:
        http.client.HTTPConnection.putrequest = put_request
