"""The gateway speaks HTTP as Lambda's function URLs do, whatever runs the functions."""

import asyncio
import base64
import contextlib
import io
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, web

from local.gateway import Gateway, HttpBackend
from local.invocation import PAYLOAD_LIMIT, PLACE_PATIENCE_S, Outcome, Throttled
from local.journal import Journal
from local.template import Cors, LambdaFunction

CORS = Cors(
    origins=("https://shop.example",),
    methods=("GET", "POST"),
    headers=("Content-Type", "Idempotency-Key"),
    exposed=("ETag", "X-Request-Id"),
    credentials=False,
    max_age_s=600,
)


def a_function(
    name: str = "shop", *, url_auth: str | None = "NONE", cors: Cors | None = None
) -> LambdaFunction:
    return LambdaFunction(
        logical_id="ShopFunction",
        name=name,
        full_name=f"holdfast-{name}",
        handler="shop.handler",
        timeout_s=3,
        memory_mb=128,
        environment={},
        code=Path(),
        parent_packages=None,
        layers=(),
        reserved_concurrency=None,
        url_auth=url_auth,
        cors=cors,
        schedules=(),
        async_retries=2,
        async_max_age_s=60,
    )


class FakeBackend:
    """Remembers the events, and answers what the test says."""

    def __init__(self, answer: Any = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.enqueued: list[bytes] = []
        self.answer = {"statusCode": 200, "body": "fine"} if answer is None else answer

    async def invoke(
        self,
        function: LambdaFunction,
        payload: bytes,
        *,
        patience_s: float = PLACE_PATIENCE_S,
        request_id: str | None = None,
    ) -> Outcome:
        self.events.append(json.loads(payload))
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, Outcome):
            return self.answer
        return Outcome(json.dumps(self.answer).encode(), None, request_id or "id")

    def enqueue(self, function: LambdaFunction, payload: bytes) -> None:
        self.enqueued.append(payload)


type Scenario = Callable[[ClientSession, str], Awaitable[None]]


def behind_gateway(folder: Path, backend: FakeBackend, scenario: Scenario, cors: Cors | None = None) -> None:
    async def run() -> None:
        journal = Journal(folder, (folder / "terminal").open("w"))
        functions = {"shop": a_function(cors=cors), "hidden": a_function("hidden", url_auth=None)}
        gateway = Gateway(functions, backend, journal)
        listening = socket.create_server(("127.0.0.1", 0))
        try:
            await gateway.open(listening)
            async with ClientSession() as session:
                await scenario(session, f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            await gateway.close()
            listening.close()
            journal.close()
            journal._terminal.close()

    asyncio.run(run())


def ask(
    folder: Path,
    backend: FakeBackend,
    path: str = "/shop/",
    *,
    method: str = "GET",
    cors: Cors | None = None,
    **options: Any,
) -> tuple[ClientResponse, bytes]:
    """One request and its answer."""
    answers: list[tuple[ClientResponse, bytes]] = []

    async def scenario(session: ClientSession, url: str) -> None:
        async with session.request(method, url + path, **options) as response:
            answers.append((response, await response.read()))

    behind_gateway(folder, backend, scenario, cors)
    return answers[0]


def test_the_event_is_payload_format_2(tmp_path: Path) -> None:
    """Path without the function's name, lower-case headers joined by commas, cookies apart, both query forms."""
    backend = FakeBackend()
    ask(
        tmp_path,
        backend,
        "/shop/items/a%20b?tag=1&tag=2&empty=",
        headers=[("X-Thing", "1"), ("X-Thing", "2"), ("Cookie", "a=1; b=2"), ("User-Agent", "test")],
    )
    (event,) = backend.events
    assert (event["version"], event["routeKey"], event["rawPath"]) == ("2.0", "$default", "/items/a%20b")
    assert event["rawQueryString"] == "tag=1&tag=2&empty="
    assert event["queryStringParameters"] == {"tag": "1,2", "empty": ""}
    assert event["headers"]["x-thing"] == "1,2"
    assert event["cookies"] == ["a=1", "b=2"]
    assert "cookie" not in event["headers"]
    assert "body" not in event
    http = event["requestContext"]["http"]
    assert http == {
        "method": "GET",
        "path": "/items/a b",
        "protocol": "HTTP/1.1",
        "sourceIp": "127.0.0.1",
        "userAgent": "test",
    }
    assert event["requestContext"]["timeEpoch"] > 1_700_000_000_000


def test_the_bare_function_name_is_its_root(tmp_path: Path) -> None:
    """`/shop` reaches the function as `/`."""
    backend = FakeBackend()
    ask(tmp_path, backend, "/shop")
    assert backend.events[0]["rawPath"] == "/"


@pytest.mark.parametrize(
    "media", ["application/json", "text/plain; charset=utf-8", "application/problem+json"]
)
def test_a_text_body_travels_as_text(tmp_path: Path, media: str) -> None:
    """Media types of text are passed on as they are."""
    backend = FakeBackend()
    ask(tmp_path, backend, method="POST", data='{"ä": 1}'.encode(), headers={"Content-Type": media})
    assert (backend.events[0]["body"], backend.events[0]["isBase64Encoded"]) == ('{"ä": 1}', False)


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("application/octet-stream", b"plain"),
        ("application/x-www-form-urlencoded", b"a=1"),
        ("application/json", b'{"a": "\xff"}'),
    ],
)
def test_any_other_body_travels_as_base64(tmp_path: Path, media: str, body: bytes) -> None:
    """So does text that is no UTF-8: the function gets the very bytes."""
    backend = FakeBackend()
    ask(tmp_path, backend, method="POST", data=body, headers={"Content-Type": media})
    assert backend.events[0]["isBase64Encoded"]
    assert base64.b64decode(backend.events[0]["body"]) == body


def test_a_compressed_body_is_not_touched(tmp_path: Path) -> None:
    """A signature is over the bytes that were sent."""
    backend = FakeBackend()
    headers = {"Content-Type": "application/octet-stream", "Content-Encoding": "gzip"}
    ask(tmp_path, backend, method="POST", data=b"no gzip at all", headers=headers)
    assert base64.b64decode(backend.events[0]["body"]) == b"no gzip at all"


def test_the_answer_is_what_the_function_says(tmp_path: Path) -> None:
    """Status, headers, several cookies and a decoded body."""
    answer = {
        "statusCode": 201,
        "headers": {"Content-Type": "image/gif", "ETag": '"3"', "X-Count": 7},
        "cookies": ["a=1; HttpOnly", "b=2"],
        "body": base64.b64encode(b"\x00\xff").decode(),
        "isBase64Encoded": True,
    }
    response, body = ask(tmp_path, FakeBackend(answer))
    assert (response.status, body) == (201, b"\x00\xff")
    assert (response.headers["Content-Type"], response.headers["ETag"]) == ("image/gif", '"3"')
    assert response.headers["X-Count"] == "7"
    assert response.headers.getall("Set-Cookie") == ["a=1; HttpOnly", "b=2"]


@pytest.mark.parametrize(("answer", "body"), [({"a": 1}, b'{"a": 1}'), ("text", b"text"), ([1], b"[1]")])
def test_bare_json_is_a_200(tmp_path: Path, answer: Any, body: bytes) -> None:
    """An answer without a statusCode is the body itself."""
    response, said = ask(tmp_path, FakeBackend(answer))
    assert (response.status, said, response.headers["Content-Type"]) == (200, body, "application/json")


@pytest.mark.parametrize(
    "answer",
    [
        {"statusCode": "many"},
        {"statusCode": 99},
        {"statusCode": 200, "body": {"no": "text"}},
        {"statusCode": 200, "headers": ["no", "object"]},
        {"statusCode": 200, "headers": {"X-Split": "a\r\nb: c"}},
        {"statusCode": 200, "body": "!", "isBase64Encoded": True},
        {"statusCode": 200, "cookies": "a=1"},
        Outcome(b"no JSON", None, "id"),
        Outcome(b'{"errorType": "ValueError", "errorMessage": "secret"}', "ValueError", "id"),
    ],
    ids=str,
)
def test_nonsense_and_failures_are_502_and_tell_nothing(tmp_path: Path, answer: Any) -> None:
    """Whoever calls a function URL never learns what went wrong inside."""
    response, body = ask(tmp_path, FakeBackend(answer))
    assert (response.status, json.loads(body)) == (502, {"Message": "Internal Server Error"})


def test_no_free_place_is_429(tmp_path: Path) -> None:
    """As Lambda answers when a function's concurrency is used up."""
    assert ask(tmp_path, FakeBackend(Throttled()))[0].status == 429


def test_a_request_over_six_megabytes_is_413(tmp_path: Path) -> None:
    """Counted as the event that it would become; the function is not invoked."""
    backend = FakeBackend()
    for size in (PAYLOAD_LIMIT + 1, PAYLOAD_LIMIT - 10, PAYLOAD_LIMIT * 3 // 4):
        response, _ = ask(tmp_path, backend, method="POST", data=io.BytesIO(b"\x00" * size))
        assert response.status == 413
    assert backend.events == []
    response, _ = ask(tmp_path, backend, method="POST", data=io.BytesIO(b"\x00" * (PAYLOAD_LIMIT // 2)))
    assert response.status == 200


def test_a_chunked_request_is_cut_off_at_six_megabytes(tmp_path: Path) -> None:
    """A body that does not say its length is counted while it comes."""

    async def endless() -> Any:
        for _ in range(8):
            yield b"x" * (1024 * 1024)

    assert ask(tmp_path, FakeBackend(), method="POST", data=endless())[0].status == 413


def test_unknown_functions_are_404_and_those_without_url_403(tmp_path: Path) -> None:
    """A function without a function URL cannot be reached by HTTP, only by the Invoke API."""
    assert ask(tmp_path, FakeBackend(), "/nothing/here")[0].status == 404
    assert ask(tmp_path, FakeBackend(), "/hidden/")[0].status == 403


def test_a_preflight_is_answered_by_the_url_itself(tmp_path: Path) -> None:
    """The browser learns what the template allows; the function is not asked."""
    backend = FakeBackend()
    headers = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    response, _ = ask(tmp_path, backend, method="OPTIONS", headers=headers, cors=CORS)
    assert response.status == 200
    assert response.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert response.headers["Access-Control-Allow-Methods"] == "GET,POST"
    assert response.headers["Access-Control-Allow-Headers"] == "Content-Type,Idempotency-Key"
    assert response.headers["Access-Control-Max-Age"] == "600"
    assert backend.events == []


def test_answers_carry_cors_for_allowed_origins_only(tmp_path: Path) -> None:
    """Errors of the platform too, or a page could not tell a 429 from a broken network."""
    for answer in (None, Throttled()):
        response, _ = ask(
            tmp_path, FakeBackend(answer), headers={"Origin": "https://shop.example"}, cors=CORS
        )
        assert response.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert response.headers["Access-Control-Expose-Headers"] == "ETag,X-Request-Id"
        assert response.headers["Vary"] == "Origin"
    for method in ("GET", "OPTIONS"):
        headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        response, _ = ask(tmp_path, FakeBackend(), method=method, headers=headers, cors=CORS)
        assert not [name for name in response.headers if name.lower().startswith("access-control")]


def test_the_invoke_api_takes_every_name_of_a_function(tmp_path: Path) -> None:
    """Public name, full name, logical id and ARN, of an alias too, with and without a URL; anything else is not found."""
    backend = FakeBackend({"done": 1})
    arn = "arn:aws:lambda:us-east-1:123456789012:function:holdfast-shop"
    for name in (
        "shop",
        "holdfast-shop",
        "ShopFunction",
        arn,
        "hidden",
        "holdfast-shop:live",
        f"{arn}:$LATEST",
    ):
        path = f"/2015-03-31/functions/{name}/invocations"
        response, body = ask(tmp_path, backend, path, method="POST", data=b"{}")
        assert (response.status, json.loads(body)) == (200, {"done": 1})
    response, _ = ask(tmp_path, backend, "/2015-03-31/functions/other/invocations", method="POST", data=b"{}")
    assert response.status == 404
    assert response.headers["x-amzn-ErrorType"] == "ResourceNotFoundException"


def test_an_event_invocation_is_taken_and_answered_202(tmp_path: Path) -> None:
    """Its answer is nobody's."""
    backend = FakeBackend()
    headers = {"X-Amz-Invocation-Type": "Event"}
    path = "/2015-03-31/functions/shop/invocations"
    response, _ = ask(tmp_path, backend, path, method="POST", data=b'{"a":1}', headers=headers)
    assert (response.status, backend.enqueued, backend.events) == (202, [b'{"a":1}'], [])


def test_any_lambda_endpoint_can_stand_behind_the_gateway(tmp_path: Path) -> None:
    """The HTTP backend speaks the Invoke API: answers, function errors and throttling come through."""
    answers: list[web.Response] = [
        web.json_response({"ok": True}),
        web.json_response({"errorType": "E"}, headers={"X-Amz-Function-Error": "Unhandled"}),
        web.Response(status=429),
    ]
    paths: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        paths.append(request.path)
        return answers[len(paths) - 1]

    async def run() -> None:
        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        listening = sockets.enter_context(socket.create_server(("127.0.0.1", 0)))
        await web.SockSite(runner, listening).start()
        endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with ClientSession() as session:
            backend = HttpBackend(endpoint, session)
            outcome = await backend.invoke(a_function(), b"{}")
            assert (json.loads(outcome.payload), outcome.error) == ({"ok": True}, None)
            assert (await backend.invoke(a_function(), b"{}")).error == "Unhandled"
            with pytest.raises(Throttled):
                await backend.invoke(a_function(), b"{}")
            unreachable = await HttpBackend("http://127.0.0.1:9", session).invoke(a_function(), b"{}")
            assert unreachable.error == "Gateway.Unreachable"
        await runner.cleanup()

    with contextlib.ExitStack() as sockets:
        asyncio.run(run())
    assert paths[0] == "/2015-03-31/functions/ShopFunction/invocations"
