"""A function URL's two translations: an HTTP request into an event, and an answer into an HTTP response.

https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html, payload format 2.0.
"""

import base64
import binascii
import json
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import parse_qsl, unquote

from local.template import Cors

TEXT_TYPES = {"application/json", "application/javascript", "application/xml"}


class Nonsense(Exception):
    """The function's answer is no HTTP response; the message says why."""


@dataclass(frozen=True)
class HttpRequest:
    """What arrived, with the path as the function shall see it, still percent-encoded."""

    method: str
    path: str
    query: str
    headers: Iterable[tuple[str, str]]
    body: bytes
    source_ip: str
    protocol: str = "HTTP/1.1"


@dataclass(frozen=True)
class HttpAnswer:
    """What goes back; header names in lower case, each cookie a Set-Cookie of its own."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict[str, str])
    cookies: tuple[str, ...] = ()


def event_of(request: HttpRequest, *, url_id: str, request_id: str) -> dict[str, Any]:
    """The event that the function gets."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in request.headers:
        lower = name.lower()
        if lower == "cookie":
            cookies += [cookie.strip() for cookie in value.split(";") if cookie.strip()]
        else:
            headers[lower] = f"{headers[lower]},{value}" if lower in headers else value
    forwarded = headers.get("x-forwarded-for")
    headers["x-forwarded-for"] = f"{forwarded}, {request.source_ip}" if forwarded else request.source_ip
    headers["x-forwarded-proto"] = "http"
    headers["x-amzn-trace-id"] = f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]}"
    domain = headers.get("host", "")
    now = time.time()
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": url_id,
            "domainName": domain,
            "domainPrefix": url_id,
            "http": {
                "method": request.method,
                "path": unquote(request.path),
                "protocol": request.protocol,
                "sourceIp": request.source_ip,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": datetime.fromtimestamp(now, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = cookies
    if request.query:
        parameters: dict[str, str] = {}
        for name, value in parse_qsl(request.query, keep_blank_values=True):
            parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
        event["queryStringParameters"] = parameters
    if request.body:
        text = _as_text(request.body, headers.get("content-type", ""))
        event["isBase64Encoded"] = text is None
        event["body"] = base64.b64encode(request.body).decode() if text is None else text
    return event


def answer_of(payload: bytes) -> HttpAnswer:
    """The response that a function's JSON stands for; raises Nonsense where Lambda would answer 502."""
    try:
        value: object = json.loads(payload)
    except ValueError as error:
        raise Nonsense(f"no JSON: {error}") from None
    if not isinstance(value, dict) or "statusCode" not in value:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return HttpAnswer(200, text.encode(), {"content-type": "application/json"})
    fields = cast("dict[str, Any]", value)
    headers = {"content-type": "application/json"} | _headers(fields.get("headers") or {})
    cookies: object = fields.get("cookies") or []
    if not isinstance(cookies, list) or not all(
        isinstance(one, str) for one in cast("list[object]", cookies)
    ):
        raise Nonsense("cookies are no list of texts")
    return HttpAnswer(
        _status(fields["statusCode"]), _body(fields), headers, tuple(cast("list[str]", cookies))
    )


def cors_headers(cors: Cors | None, origin: str | None) -> dict[str, str]:
    """What a function URL adds to an answer; nothing for an origin that is not allowed."""
    if cors is None or origin is None or not ("*" in cors.origins or origin in cors.origins):
        return {}
    anyone = "*" in cors.origins and not cors.credentials
    headers = {"access-control-allow-origin": "*" if anyone else origin, "vary": "Origin"}
    if cors.credentials:
        headers["access-control-allow-credentials"] = "true"
    if cors.exposed:
        headers["access-control-expose-headers"] = ",".join(cors.exposed)
    return headers


def preflight_headers(cors: Cors, origin: str) -> dict[str, str]:
    """What a function URL answers a browser that asks first; nothing for an origin that is not allowed."""
    headers = cors_headers(cors, origin)
    if not headers:
        return {}
    headers.pop("access-control-expose-headers", None)
    if cors.methods:
        headers["access-control-allow-methods"] = ",".join(cors.methods)
    if cors.headers:
        headers["access-control-allow-headers"] = ",".join(cors.headers)
    if cors.max_age_s is not None:
        headers["access-control-max-age"] = str(cors.max_age_s)
    return headers


def _as_text(body: bytes, content_type: str) -> str | None:
    """The body as text where its media type says so and it is UTF-8; else None, and it travels as base64."""
    media = content_type.partition(";")[0].strip().lower()
    if not (media.startswith("text/") or media in TEXT_TYPES or media.endswith(("+json", "+xml"))):
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _status(value: object) -> int:
    try:
        status = int(cast("str", value))
    except (TypeError, ValueError):
        raise Nonsense("statusCode is no number") from None
    if isinstance(value, bool) or not 200 <= status <= 599:
        raise Nonsense(f"statusCode {status}")
    return status


def _headers(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise Nonsense("headers are no object")
    headers: dict[str, str] = {}
    for name, content in cast("Mapping[str, object]", value).items():
        if isinstance(content, bool):
            headers[name.lower()] = str(content).lower()
        elif isinstance(content, str | int | float):
            headers[name.lower()] = str(content)
        else:
            raise Nonsense(f"header {name} is no text")
        if any(character in name + headers[name.lower()] for character in "\r\n\0"):
            raise Nonsense(f"header {name} holds a line break")
    return headers


def _body(fields: Mapping[str, Any]) -> bytes:
    body: object = fields.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        raise Nonsense("body is no text")
    if not fields.get("isBase64Encoded"):
        return body.encode()
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise Nonsense("body is no base64") from None
