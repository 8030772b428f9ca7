"""One request to Stripe's API, from its key to its answer: authentication, faults, idempotency, endpoint."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from local.stripe_emulator.account import Account, Answer, Call
from local.stripe_emulator.authentication import authenticate, secret_key_required
from local.stripe_emulator.endpoints import find_endpoint
from local.stripe_emulator.errors import StripeError, invalid_parameter, of_status, unknown_url
from local.stripe_emulator.faults import ResponseFault, save_faults
from local.stripe_emulator.form import Form, FormValue, decode
from local.stripe_emulator.idempotency import InFlight, Kept, Request, keep, request_under
from local.stripe_emulator.identifiers import new_id
from local.stripe_emulator.method_types import refuse_removed_parameters
from local.stripe_emulator.shapes import PUBLIC_INTENT_FIELDS

type Json = dict[str, Any]

# Faults that stand for an endpoint's own result, kept under the key; other 5xx come from Stripe's edge.
_EXECUTED_FAULTS = (402, 500)
_FORM = "application/x-www-form-urlencoded"

# Stripe's own: a browser page may call the API with a publishable key.
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, PUT, PATCH, POST, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Stripe-Version",
    "Access-Control-Expose-Headers": "Request-Id, Idempotent-Replayed",
    "Access-Control-Max-Age": "300",
}


@dataclass
class Exchange:
    """One request while it is answered."""

    method: str
    path: str
    request_id: str
    parameters: Form = field(default_factory=dict[str, FormValue])
    publishable: bool = False
    version: str | None = None
    idempotency: Request | None = None


class Api:
    """Stripe's API over one account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._in_flight = InFlight()

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a request below /v1, or close its connection where a fault says so."""
        if request.method == "OPTIONS":
            return web.Response(status=200, headers=_CORS)
        exchange = Exchange(request.method, request.path, new_id("req", 14))
        try:
            await self._read(request, exchange)
            fault = self._strike(exchange)
            if fault.timeout_before:
                await _pause(fault)
                return _hang_up(request)
            kept, replayed = await self._run(exchange, fault)
            if fault.timeout_after:
                return _hang_up(request)
        except StripeError as error:
            return self._response(exchange, self._kept_error(exchange, error))
        return self._response(exchange, kept, replayed=replayed)

    async def _read(self, request: web.Request, exchange: Exchange) -> None:
        body = (await request.read()).decode(errors="replace")
        text = request.rel_url.raw_query_string
        if body:
            if request.content_type not in (_FORM, "application/octet-stream"):
                raise invalid_parameter(
                    f"Invalid request (check that your POST content type is {_FORM}). "
                    f"Yours is {request.content_type}."
                )
            text = f"{text}&{body}" if text else body
        parameters = decode(text)
        secret_key = self._account.settings.secret_key
        exchange.publishable = authenticate(request.headers, parameters, secret_key)
        exchange.parameters = parameters
        exchange.version = request.headers.get("Stripe-Version")
        key = request.headers.get("Idempotency-Key")
        if key and request.method == "POST":
            exchange.idempotency = request_under(key, request.path, parameters)

    async def _run(self, exchange: Exchange, fault: ResponseFault) -> tuple[Kept, bool]:
        """The result of the request, and whether it is a replay of an earlier one's."""
        status = fault.error_status
        if status is not None and status not in _EXECUTED_FAULTS:
            await _pause(fault)
            raise StripeError(status, of_status(status), executed=False)
        if exchange.idempotency is None:
            await _pause(fault)
            return self._execute(exchange, status), False
        kept = self._in_flight.begin(self._account, exchange.idempotency)
        if kept is not None:
            await _pause(fault)
            return kept, True
        try:
            await _pause(fault)
            return self._execute(exchange, status), False
        finally:
            self._in_flight.end(exchange.idempotency)

    def _execute(self, exchange: Exchange, faulted_status: int | None) -> Kept:
        """Run the endpoint; its effects and what is kept under its key are one transaction."""
        account = self._account
        with account.storage.transaction():
            try:
                with account.storage.transaction():
                    answer = self._answer(exchange, faulted_status)
                kept = Kept(answer.status, _text(self._finished(exchange, answer)), exchange.request_id)
            except StripeError as error:
                if not error.executed:
                    raise
                kept = self._kept_error(exchange, error)
            if exchange.idempotency is not None:
                keep(account, exchange.idempotency, kept)
        return kept

    def _answer(self, exchange: Exchange, faulted_status: int | None) -> Answer:
        if faulted_status is not None:
            raise StripeError(faulted_status, of_status(faulted_status), executed=True)
        found = find_endpoint(exchange.method, exchange.path)
        if found is None:
            raise unknown_url(exchange.method, exchange.path)
        endpoint, parts = found
        if exchange.publishable and not endpoint.publishable:
            raise secret_key_required()
        refuse_removed_parameters(set(exchange.parameters), exchange.version)
        parameters = endpoint.parameters.read(exchange.parameters)
        return endpoint.handler(self._call(exchange, parts), parameters)

    def _call(self, exchange: Exchange, parts: dict[str, str]) -> Call:
        key = None if exchange.idempotency is None else exchange.idempotency.key
        return Call(self._account, exchange.request_id, key, exchange.publishable, parts)

    def _strike(self, exchange: Exchange) -> ResponseFault:
        """The fault that meets this request; one that does nothing if none does."""
        account = self._account
        fault = account.faults.strike(exchange.method, exchange.path, account.chance)
        if fault is None:
            return ResponseFault()
        # The count must survive a kill, like everything else that a request changes.
        save_faults(account.storage, account.faults)
        return fault

    def _finished(self, exchange: Exchange, answer: Answer) -> Json:
        """The answer's body as this caller may see it."""
        if answer.status != 200:
            return self._with_log_url(exchange, answer.body)
        if exchange.publishable:
            return {name: answer.body[name] for name in PUBLIC_INTENT_FIELDS}
        return answer.body

    def _kept_error(self, exchange: Exchange, error: StripeError) -> Kept:
        body = self._with_log_url(exchange, {"error": error.error})
        return Kept(error.status, _text(body), exchange.request_id)

    def _with_log_url(self, exchange: Exchange, body: Json) -> Json:
        url = f"https://dashboard.stripe.com/test/logs/{exchange.request_id}?t={self._account.now()}"
        return {"error": body["error"] | {"request_log_url": url}}

    def _response(self, exchange: Exchange, kept: Kept, *, replayed: bool = False) -> web.Response:
        headers = {
            **_CORS,
            "Request-Id": exchange.request_id,
            "Stripe-Version": exchange.version or self._account.settings.api_version,
        }
        if exchange.idempotency is not None:
            headers["Idempotency-Key"] = exchange.idempotency.key
            headers["Original-Request"] = kept.request_id
        if replayed:
            headers["Idempotent-Replayed"] = "true"
        if kept.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="Stripe"'
        return web.Response(
            status=kept.status, text=kept.body, content_type="application/json", headers=headers
        )


def _text(body: Json) -> str:
    return json.dumps(body)


async def _pause(fault: ResponseFault) -> None:
    if fault.delay_ms:
        await asyncio.sleep(fault.delay_ms / 1000)


def _hang_up(request: web.Request) -> web.Response:
    """Close the connection without an answer; the response is never sent."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()
