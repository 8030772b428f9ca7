"""The cloud's front door: every function URL under one address, and Lambda's Invoke API.

Run as a program it stands in front of any Lambda Invoke endpoint, such as `sam local start-lambda`:
`python -m local.gateway --lambda-endpoint http://127.0.0.1:3001 --port 8787 --template template.yaml`.
"""

import argparse
import asyncio
import contextlib
import io
import json
import socket
import sys
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

from aiohttp import ClientError, ClientSession, ClientTimeout, web

from local.function_url import (
    HttpAnswer,
    HttpRequest,
    Nonsense,
    answer_of,
    cors_headers,
    event_of,
    preflight_headers,
)
from local.invocation import (
    PAYLOAD_LIMIT,
    PLACE_PATIENCE_S,
    Backend,
    Outcome,
    Throttled,
    error_payload,
    what_happened,
)
from local.journal import Journal
from local.lambda_runtime.runtime import report
from local.storefront import Storefront
from local.template import LambdaFunction, load_template

INVOKE_PATH = "/2015-03-31/functions/"
PATIENCE_HEADER = "X-Local-Patience-Seconds"  # how long an Invoke call is ready to wait for a free place
SUMMARY_LIMIT = 4096
DRAIN_S = 1.0


class _TooLarge(Exception):
    """A request body over Lambda's limit."""


class Gateway:
    """Serves on one socket until closed."""

    def __init__(
        self,
        functions: Mapping[str, LambdaFunction],
        backend: Backend,
        journal: Journal,
        storefront: Storefront | None = None,
    ) -> None:
        self.functions = functions
        self.backend = backend
        self.journal = journal
        self.storefront = storefront
        self._server = web.Server(self._serve, access_log=None, auto_decompress=False)
        self._listener: asyncio.Server | None = None

    async def open(self, listening: socket.socket) -> None:
        """Accept connections on a bound socket."""
        self._listener = await asyncio.get_running_loop().create_server(
            self._server, sock=listening, backlog=1024
        )

    async def close(self) -> None:
        """Accept no more, and give what is under way a moment."""
        if self._listener:
            self._listener.close()
        await self._server.shutdown(DRAIN_S)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        try:
            if path.startswith(INVOKE_PATH):
                return await self._invoke_api(request, path.removeprefix(INVOKE_PATH))
            if self.storefront and request.method in ("GET", "HEAD"):
                page = self.storefront.answer(path)
                if page is not None:
                    return page
            if path == "/":
                return _json(HTTPStatus.OK, {"functions": sorted(self._url_functions())})
            name, slash, rest = path[1:].partition("/")
            function = self.functions.get(name)
            if function is None:
                return _json(HTTPStatus.NOT_FOUND, {"Message": f"No function is called {name[:64]}"})
            if function.url_auth != "NONE":
                return _json(HTTPStatus.FORBIDDEN, {"Message": "Forbidden"})
            return await self._function_url(request, function, slash + rest or "/")
        except _TooLarge:
            answer = _json(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"Message": "Request Entity Too Large"})
            answer.force_close()
            return answer

    def _url_functions(self) -> list[str]:
        return [name for name, function in self.functions.items() if function.url_auth is not None]

    async def _function_url(
        self, request: web.BaseRequest, function: LambdaFunction, path: str
    ) -> web.Response:
        headers = request.headers
        origin = headers.get("Origin")
        asks_first = request.method == "OPTIONS" and "Access-Control-Request-Method" in headers
        if asks_first and origin is not None and function.cors is not None:
            return web.Response(headers=preflight_headers(function.cors, origin))
        request_id = str(uuid.uuid4())
        incoming = HttpRequest(
            method=request.method,
            path=path,
            query=request.raw_path.partition("?")[2],
            headers=headers.items(),
            body=await _read(request),
            source_ip=request.remote or "",
        )
        event = event_of(incoming, url_id=function.name, request_id=request_id)
        payload = json.dumps(event, separators=(",", ":")).encode()
        if len(payload) > PAYLOAD_LIMIT:
            raise _TooLarge
        answer, outcome = await self._ask(function, payload, request_id)
        self._tell(function, request.method, path, answer, outcome)
        answer.headers["x-amzn-requestid"] = request_id
        for name, value in cors_headers(function.cors, origin).items():
            own = answer.headers.get(name) if name == "vary" else None
            answer.headers[name] = f"{own}, {value}" if own else value
        return _response(answer)

    async def _ask(
        self, function: LambdaFunction, payload: bytes, request_id: str
    ) -> tuple[HttpAnswer, Outcome | None]:
        """The function's answer, or what a function URL says where there is none."""
        try:
            outcome = await self.backend.invoke(function, payload, request_id=request_id)
        except Throttled:
            return _platform_answer(HTTPStatus.TOO_MANY_REQUESTS, "Rate Exceeded."), None
        if outcome.error is not None:
            return _platform_answer(HTTPStatus.BAD_GATEWAY, "Internal Server Error"), outcome
        try:
            return answer_of(outcome.payload), outcome
        except Nonsense as nonsense:
            self.journal.log(function.name, {"type": "platform.nonsense", "reason": str(nonsense)})
            said = Outcome(error_payload("Nonsense", str(nonsense)), "Nonsense", outcome.request_id)
            return _platform_answer(HTTPStatus.BAD_GATEWAY, "Internal Server Error"), said

    def _tell(
        self, function: LambdaFunction, method: str, path: str, answer: HttpAnswer, outcome: Outcome | None
    ) -> None:
        """The terminal's line for one HTTP request."""
        happened = ""
        said = answer.body if outcome is None or outcome.error is None else outcome.payload
        if len(said) <= SUMMARY_LIMIT:
            with contextlib.suppress(ValueError):
                happened = what_happened(json.loads(said))
        if outcome is not None and outcome.waited_ms >= 100:
            happened += f" (waited {outcome.waited_ms / 1000:.1f} s)"
        self.journal.invocation(
            function.name,
            what=f"{method} {path}",
            status=str(answer.status),
            ms=outcome.duration_ms if outcome else 0,
            start="cold" if outcome and outcome.cold else "warm",
            happened=happened.strip(),
        )

    async def _invoke_api(self, request: web.BaseRequest, rest: str) -> web.Response:
        """Answer as https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html says."""
        name, _, action = rest.partition("/")
        function = self._named(name.replace("%3A", ":").replace("%24", "$"))
        if request.method != "POST" or action != "invocations":
            return _aws_error(HTTPStatus.NOT_FOUND, "UnknownOperationException", "only Invoke is served here")
        if function is None:
            return _aws_error(
                HTTPStatus.NOT_FOUND, "ResourceNotFoundException", f"Function not found: {name[:140]}"
            )
        payload = await _read(request) or b"{}"
        try:
            json.loads(payload)
        except ValueError:
            return _aws_error(
                HTTPStatus.BAD_REQUEST, "InvalidRequestContentException", "the payload is no JSON"
            )
        kind = request.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        if kind == "DryRun":
            return web.Response(status=HTTPStatus.NO_CONTENT)
        if kind == "Event":
            self.backend.enqueue(function, payload)
            return web.Response(status=HTTPStatus.ACCEPTED, headers={"x-amzn-RequestId": str(uuid.uuid4())})
        try:
            patience_s = float(request.headers.get(PATIENCE_HEADER, PLACE_PATIENCE_S))
            outcome = await self.backend.invoke(function, payload, patience_s=patience_s)
        except Throttled:
            return _aws_error(HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequestsException", "Rate Exceeded.")
        report(self.journal, function, outcome, what="invoke")
        headers = {"X-Amz-Executed-Version": "$LATEST", "x-amzn-RequestId": outcome.request_id}
        if outcome.error is not None:
            headers["X-Amz-Function-Error"] = "Unhandled"
        return web.Response(body=outcome.payload, content_type="application/json", headers=headers)

    def _named(self, name: str) -> LambdaFunction | None:
        """By public name, full name, logical id or ARN, whichever version or alias is asked for."""
        wanted = name.rpartition("function:")[2].partition(":")[0]
        for function in self.functions.values():
            if wanted in (function.name, function.full_name, function.logical_id):
                return function
        return None


class HttpBackend:
    """Any endpoint of Lambda's Invoke API; functions go there by their logical ids."""

    def __init__(self, endpoint: str, session: ClientSession) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.session = session
        self._tasks: set[asyncio.Task[Outcome]] = set()

    async def invoke(
        self,
        function: LambdaFunction,
        payload: bytes,
        *,
        patience_s: float = PLACE_PATIENCE_S,
        request_id: str | None = None,
    ) -> Outcome:
        """Invoke and wait; the endpoint has its own rules for a line, and makes its own request ids."""
        del patience_s, request_id
        return await self._post(function, payload, "RequestResponse")

    def enqueue(self, function: LambdaFunction, payload: bytes) -> None:
        """Invoke asynchronously."""
        task = asyncio.create_task(self._post(function, payload, "Event"))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _post(self, function: LambdaFunction, payload: bytes, kind: str) -> Outcome:
        url = f"{self.endpoint}{INVOKE_PATH}{function.logical_id}/invocations"
        loop = asyncio.get_running_loop()
        began = loop.time()
        headers = {"Content-Type": "application/json", "X-Amz-Invocation-Type": kind}
        try:
            async with self.session.post(url, data=io.BytesIO(payload), headers=headers) as response:
                body = await response.read()
                status, failed = response.status, "X-Amz-Function-Error" in response.headers
                request_id = response.headers.get("x-amzn-RequestId", "")
        except ClientError as error:
            kind = "Gateway.Unreachable"
            return Outcome(error_payload(kind, f"{self.endpoint}: {error}"), kind, "")
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise Throttled
        error = "Unhandled" if failed or status >= HTTPStatus.BAD_REQUEST else None
        return Outcome(body, error, request_id, (loop.time() - began) * 1000)


def _platform_answer(status: HTTPStatus, message: str) -> HttpAnswer:
    return HttpAnswer(status, json.dumps({"Message": message}).encode(), {"content-type": "application/json"})


def _json(status: HTTPStatus, value: object) -> web.Response:
    return web.Response(status=status, text=json.dumps(value), content_type="application/json")


def _aws_error(status: HTTPStatus, kind: str, message: str) -> web.Response:
    answer = _json(status, {"Type": "User", "Message": message})
    answer.headers["x-amzn-ErrorType"] = kind
    return answer


def _response(answer: HttpAnswer) -> web.Response:
    headers = dict(answer.headers)
    for name in ("content-length", "transfer-encoding", "connection", "date", "server"):
        headers.pop(name, None)  # they belong to the connection, which is ours
    response = web.Response(status=answer.status, body=answer.body, headers=headers)
    for cookie in answer.cookies:
        response.headers.add("Set-Cookie", cookie)
    return response


async def _read(request: web.BaseRequest) -> bytes:
    """The body as it came; raises _TooLarge past Lambda's limit."""
    if (request.content_length or 0) > PAYLOAD_LIMIT:
        raise _TooLarge
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if not request.can_read_body:
        return b""
    parts: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        parts.append(chunk)
        size += len(chunk)
        if size > PAYLOAD_LIMIT:
            raise _TooLarge
    return b"".join(parts)


async def _stand_in_front(endpoint: str, template: Path, listening: socket.socket, logs: Path) -> None:
    journal = Journal(logs)
    async with ClientSession(timeout=ClientTimeout(total=None)) as session:
        gateway = Gateway(load_template(template).functions, HttpBackend(endpoint, session), journal)
        await gateway.open(listening)
        host, port = listening.getsockname()[:2]
        print(f"ready http://{host}:{port}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m local.gateway", description=__doc__)
    parser.add_argument("--lambda-endpoint", required=True, help="such as http://127.0.0.1:3001")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8787)
    parser.add_argument("--template", type=Path, default=Path("template.yaml"))
    parser.add_argument("--logs", type=Path, default=Path(".local/logs"))
    arguments = parser.parse_args()
    try:
        listening = socket.create_server((arguments.host, arguments.port))
    except OSError as error:
        sys.exit(f"port {arguments.port}: {error.strerror}")
    try:
        asyncio.run(_stand_in_front(arguments.lambda_endpoint, arguments.template, listening, arguments.logs))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
