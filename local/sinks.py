"""Servers that take what the functions send to the outside world, answer kindly, and remember it.

`GET /_requests` tells what came: `[{"method", "path", "headers", "body"}]`, the oldest first. What the outside world has
heard it does not forget when the cloud is killed: it is kept in a file.
"""

import json
import socket
from collections import deque
from pathlib import Path
from typing import Any, cast

from aiohttp import web

REMEMBERED = 10_000


class Sink:
    """Takes any request with 200; as a GitHub, also answers the calls about issues as GitHub does."""

    def __init__(self, memory: Path, *, github: bool = False) -> None:
        """`memory`: a file of JSON lines, made unless it is there."""
        memory.touch(mode=0o600)
        self._memory = memory
        with memory.open() as heard:
            self.requests = deque((_object(line) for line in heard if line.endswith("\n")), maxlen=REMEMBERED)
        self.issues: list[dict[str, Any]] = []
        self.github = github
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
            return self._as_github(request, body)
        return web.json_response({"received": True})

    def _as_github(self, request: web.BaseRequest, body: str) -> web.Response:
        """Answer as https://docs.github.com/en/rest/issues/issues says."""
        base, _, number = request.path.rstrip("/").partition("/issues")
        fields = _object(body)
        if request.method == "POST" and not number:
            number = str(len(self.issues) + 1)
            issue: dict[str, Any] = {"number": int(number), "state": "open", "body": None, **fields}
            issue["html_url"] = f"http://{request.host}{base.removeprefix('/repos')}/issues/{number}"
            issue["url"] = f"http://{request.host}{base}/issues/{number}"
            self.issues.append(issue)
            return web.json_response(issue, status=201)
        index, _, what = number.strip("/").partition("/")
        if not index.isdigit() or not 1 <= int(index) <= len(self.issues):
            if request.method == "GET" and not number:
                return web.json_response(self.issues)
            return web.json_response({"message": "Not Found"}, status=404)
        issue = self.issues[int(index) - 1]
        if request.method == "PATCH":
            issue |= fields
        if request.method == "POST" and what == "comments":
            return web.json_response({"id": len(self.requests), "body": fields.get("body", "")}, status=201)
        return web.json_response(issue)


def _object(body: str) -> dict[str, Any]:
    try:
        value: object = json.loads(body)
    except ValueError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
