"""The entry point of a function behind a function URL: what is read from a request, and what is sent back."""

import base64
import binascii
import hmac
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.metrics import MetricUnit
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from domain import refusals
from domain.limits import Limits, begin_request
from domain.meter import meter
from domain.refusals import Refusal
from runtime.failures import report_failure, report_held_back
from runtime.limits import request_limits
from runtime.observability import count, invocation, logger, named_after
from runtime.problems import STATUS, problem_response
from runtime.settings import MissingSetting, Settings, load, renew_secrets
from runtime.snapshot import forget_around_snapshots

type Handler = Callable[[dict[str, Any], Any], dict[str, Any]]

SERVER_ERROR = 500
# Somebody else was there first, or is there. To be sold out is no conflict: a sale ends so.
CONFLICTS = (409, 412)
# Versions count from 1.
NO_VERSION = 0


class HttpFunction(LambdaFunctionUrlResolver):
    """The routes of one function. Bodies are read by `body_as`, refusals become problems, the rest is routing.

    Each request is counted, of its address and its caller, unless `limited` is off.
    """

    def __init__(self, *, max_body_bytes: int = 64 * 1024, limited: bool = True) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType] - partly untyped there
        forget_around_snapshots()
        self._max_body_bytes = max_body_bytes
        self._limited = limited
        self._is_warm = False
        self._methods: list[tuple[str, re.Pattern[str]]] = []
        self.not_found(self._refuse_path)  # pyright: ignore[reportUnknownMemberType] - partly untyped there

    def route(self, rule: str, method: str, *args: Any, **kwargs: Any) -> Any:
        pattern = re.compile(re.sub(r"<\w+>", "[^/]+", rule))
        self._methods.append((method, pattern))
        return super().route(rule, method, *args, **kwargs)

    def lambda_handler(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """What Lambda invokes."""
        with invocation(context) as request_id:
            renew_secrets()
            report_held_back()
            begin_request(self._limits if self._limited else None)
            try:
                answer = self._answer(event, context)
            except Refusal as refusal:
                answer = self._refuse(refusal, request_id)
            except MissingSetting as missing:
                logger.critical("the function cannot start: %s", missing)
                report_failure(missing, context, severity="critical")
                answer = self._refuse(refusals.InternalError(), request_id)
            except Exception as failure:  # noqa: BLE001 - the last line of defence: an answer, never a stack
                logger.exception("uncaught failure")
                count("UncaughtFailure")
                report_failure(failure, context)
                answer = self._refuse(refusals.InternalError(), request_id)
            finally:
                begin_request(None)
            answer["headers"]["X-Request-Id"] = request_id
            self._count_call(event, context)
            return answer

    def _count_call(self, event: dict[str, Any], context: Any) -> None:
        if event["requestContext"]["http"]["method"] != "GET":
            count("Act")
        if self._is_warm:
            count(named_after(context, "OwnTime"), meter().own_ms(), unit=MetricUnit.Milliseconds)
        # The first call opens connections and reads secrets: it says nothing of the others.
        self._is_warm = True

    def _answer(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        if len(event.get("body") or "") > self._max_body_bytes * 2:
            raise refusals.BodyTooLarge
        if len(raw_body(event)) > self._max_body_bytes:
            raise refusals.BodyTooLarge
        return self.resolve(event, context)

    def _refuse(self, refusal: Refusal, request_id: str) -> dict[str, Any]:
        status = STATUS[type(refusal)]
        log = logger.warning if status >= SERVER_ERROR else logger.info
        log("refused", extra={"problem": refusal.slug(), "status": status})
        count("Refused")
        if status in CONFLICTS and not isinstance(refusal, refusals.SoldOut):
            count("Conflict")
        if isinstance(refusal, refusals.TooManyRequests):
            count("RequestLimited")
        response = problem_response(refusal, request_id)
        return {
            "statusCode": response.status_code,
            "headers": {"Content-Type": response.content_type, **response.headers},
            "body": response.body,
            "isBase64Encoded": False,
        }

    def _refuse_path(self, _: NotFoundError) -> Response[str]:
        path = self.current_event.path
        allowed = sorted({method for method, pattern in self._methods if pattern.fullmatch(path)})
        if allowed and self.current_event.http_method not in allowed:
            raise refusals.MethodNotAllowed(f"Use {' or '.join(allowed)}.", allow=allowed)
        raise refusals.NotFound

    # What a route reads of its request.

    def header(self, name: str) -> str | None:
        """A request header by its name, in any case."""
        return self.current_event.headers.get(name.lower())

    def body(self) -> bytes:
        """The body's bytes as the caller sent them."""
        return raw_body(self.current_event.raw_event)

    def body_as[M: BaseModel](self, model: type[M]) -> M:
        """The JSON body as the model says; refuses another media type, what is no JSON, and what does not fit."""
        media_type = (self.header("content-type") or "").split(";")[0].strip().lower()
        if media_type != "application/json":
            raise refusals.UnsupportedMediaType
        return _validated(lambda: model.model_validate_json(self.body(), strict=True))

    def query_as[M: BaseModel](self, model: type[M]) -> M:
        """The query string as the model says; a parameter that is empty is not there."""
        given = {name: text for name, text in self.current_event.query_string_parameters.items() if text}
        return _validated(lambda: model.model_validate_strings(given))

    @property
    def request_id(self) -> str:
        """The id of this invocation, on every line, answer and row that it leaves."""
        return self.lambda_context.aws_request_id

    def actor(self, kind: str, reason: str) -> dict[str, str | None]:
        """Who acts, from where and why, for the audit."""
        return {
            "actor": kind,
            "ip_address": self.client_address(),
            "user_agent": (self.current_event.request_context.http.user_agent or "")[:300],
            "reason": reason,
            "request_id": self.request_id,
        }

    def _limits(self, identity: str | None) -> Limits:
        return request_limits(
            load(Settings),
            function=self.lambda_context.function_name,
            method=self.current_event.http_method,
            address=self.client_address(),
            identity=identity,
        )

    def client_address(self) -> str:
        """Where the call comes from: AWS's word, and a header's only where it comes by the front, which AWS then names."""
        secret = load(Settings).front_secret
        vouched = (self.header("x-front-secret") or "").encode()
        if (
            secret
            and hmac.compare_digest(vouched, secret.encode())
            and (viewer := self.header("x-viewer-address"))
        ):
            return viewer
        return self.current_event.request_context.http.source_ip

    def idempotency_key(self, *, at_least: int = 1) -> str | None:
        """The caller's key: bare or quoted, visible ASCII, at most 255 characters."""
        given = {
            _unquoted(key.strip())
            for name in ("idempotency-key", "x-idempotency-key")
            if (key := self.header(name)) is not None
        }
        if not given:
            return None
        key = given.pop()
        if given or not re.fullmatch(r"[\x21-\x7e]{1,255}", key):
            raise refusals.InvalidIdempotencyKey("Send one key of 1 to 255 visible ASCII characters.")
        if len(key) < at_least:
            raise refusals.InvalidIdempotencyKey(f"The key needs at least {at_least} characters here.")
        return key

    def if_match(self) -> int:
        """The version that the caller has seen, as `version_seen` reads it; raises `PreconditionRequired` without one."""
        version = self.version_seen()
        if version is None:
            raise refusals.PreconditionRequired
        return version

    def version_seen(self) -> int | None:
        """The version in If-Match, bare or quoted; for what is no version, one that nothing ever has (RFC 9110, 13.1.1)."""
        given = self.header("if-match")
        if given is None:
            return None
        version = _unquoted(given.strip())
        return int(version) if re.fullmatch("[1-9][0-9]{0,8}", version) else NO_VERSION


def raw_body(event: Mapping[str, Any]) -> bytes:
    """The bytes of the body, however the function URL has wrapped them."""
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return body.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as failure:
        raise refusals.MalformedRequest from failure


def json_response(status: int, body: object, headers: Mapping[str, str] | None = None) -> Response[str]:
    """An answer in JSON, whose bytes depend on `body` alone."""
    text = body if isinstance(body, str) else dump(body)
    return Response(status, "application/json", text, dict(headers or {}))


def dump(body: object) -> str:
    """JSON as all answers are written."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def parsed_id(text: str, refusal: type[Refusal]) -> UUID:
    """An id from a path; what is no UUID names nothing that exists."""
    try:
        return UUID(text)
    except ValueError:
        raise refusal from None


def _unquoted(key: str) -> str:
    return key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key


def _validated[M: BaseModel](read: Callable[[], M]) -> M:
    try:
        return read()
    except ValidationError as failure:
        found = failure.errors(include_url=False, include_input=False, include_context=False)
        if found[0]["type"] == "json_invalid":
            raise refusals.MalformedRequest from None
        raise refusals.InvalidRequest(errors=[_field_error(error) for error in found[:50]]) from None


def _field_error(error: ErrorDetails) -> dict[str, str]:
    """What is wrong with which field (RFC 6901); nothing that the caller sent but a plain field name goes back."""
    location = [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden" and not re.fullmatch(r"[\w-]{1,64}", location[-1], re.ASCII):
        location.pop()
    detail = "Input should be a UUID" if error["type"].startswith("uuid_") else error["msg"]
    detail = detail.removeprefix("Value error, ")  # pydantic's word for what our own validators say
    return {"pointer": "".join("/" + part for part in location), "detail": detail}
