"""What Lambda hands to a function: a function URL's event (payload 2.0) and the context of an invocation."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

SOURCE_IP = "203.0.113.7"
USER_AGENT = "tests/1.0"


@dataclass
class Context:
    """An invocation's context, with time left."""

    seconds_left: float = 30
    function_name: str = "under-test"
    memory_limit_in_mb: int = 128
    log_stream_name: str = "2026/11/21/[1]under-test"
    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:000000000000:function:under-test"
    aws_request_id: str = field(default_factory=lambda: str(uuid4()))

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds_left * 1000)


@dataclass(frozen=True)
class Answer:
    """A function's HTTP answer."""

    status: int
    text: str
    headers: dict[str, str]

    @property
    def body(self) -> Any:
        """The body, parsed."""
        return json.loads(self.text)

    @property
    def problem(self) -> str:
        """The slug of the problem that was answered."""
        assert self.headers["Content-Type"] == "application/problem+json", self
        return self.body["type"].removeprefix("/problems/")


def url_event(
    method: str,
    path: str,
    body: object = None,
    headers: dict[str, str] | None = None,
    *,
    query: str = "",
    wrapped: bool | None = None,
) -> dict[str, Any]:
    """The event of a request; a mapping or list is sent as JSON, text and bytes as they are.

    `wrapped` says whether the body travels in base64, as AWS does with bytes that are no text.
    """
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"content-type": "application/json", **(headers or {})},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "url",
            "domainName": "url.lambda-url.eu-central-1.on.aws",
            "domainPrefix": "url",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": SOURCE_IP,
                "userAgent": USER_AGENT,
            },
            "requestId": str(uuid4()),
            "routeKey": "$default",
            "stage": "$default",
            "time": "21/Nov/2026:12:00:00 +0000",
            "timeEpoch": 1795262400000,
        },
        "isBase64Encoded": False,
    }
    if query:
        event["queryStringParameters"] = dict(parse_qsl(query, keep_blank_values=True))
    if body is None:
        return event
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    if wrapped if wrapped is not None else isinstance(content, bytes):
        raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        return event | {"body": base64.b64encode(raw).decode(), "isBase64Encoded": True}
    return event | {"body": content}
