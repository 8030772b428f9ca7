"""Servers that take what the functions send to the outside world, answer kindly, and remember it.

`GET /_requests` tells what came: `[{"method", "path", "headers", "body"}]`, the oldest first. What the outside world has
heard it does not forget when the cloud is killed: it is kept in a file.
"""

import json
import socket
from collections import deque
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl

from aiohttp import web

from local.github import GitHub

REMEMBERED = 10_000


class Sink:
    """Takes any request with 200; as a GitHub, also answers the calls about issues as GitHub does."""

    def __init__(self, memory: Path, *, github: bool = False) -> None:
        """`memory`: a file of JSON lines, made unless it is there."""
        memory.touch(mode=0o600)
        self._memory = memory
        with memory.open() as heard:
            self.requests = deque((_object(line) for line in heard if line.endswith("\n")), maxlen=REMEMBERED)
        self.github = GitHub() if github else None
        if self.github:
            for heard_before in self.requests:
                path, _, query = heard_before["path"].partition("?")
                fields = _object(heard_before["body"])
                self.github.answer(heard_before["method"], path, dict(parse_qsl(query)), fields)
        self._runner = web.ServerRunner(web.Server(self._serve))

    async def open(self, listening: socket.socket) -> None:
        """Accept connections on a bound socket."""
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()

    async def close(self) -> None:
        """Accept no more."""
        await self._runner.cleanup()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/_requests":
            return web.json_response(list(self.requests))
        body = (await request.content.read()).decode(errors="replace")
        entry = {
            "method": request.method,
            "path": request.path_qs,
            "headers": dict(request.headers),
            "body": body,
        }
        self.requests.append(entry)
        with self._memory.open("a") as memory:
            memory.write(json.dumps(entry) + "\n")
        if self.github:
            return self._as_github(self.github, request, body)
        return web.json_response({"received": True})

    def _as_github(self, github: GitHub, request: web.BaseRequest, body: str) -> web.Response:
        github.url = f"http://{request.host}"
        status, answer = github.answer(request.method, request.path, request.query, _object(body))
        return web.json_response(answer, status=status)


def _object(body: str) -> dict[str, Any]:
    try:
        value: object = json.loads(body)
    except ValueError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
