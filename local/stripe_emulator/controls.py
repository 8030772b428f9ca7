"""What Stripe does not have: the addresses below /_emulator that steer faults and play the buyer."""

import json
from collections.abc import Callable
from typing import cast

from aiohttp import web

from local.stripe_emulator import buyer, events
from local.stripe_emulator.account import Account, Answer
from local.stripe_emulator.errors import StripeError, invalid_parameter
from local.stripe_emulator.faults import InvalidFaults, parse_faults, save_faults

_OUTCOMES = ("succeeded", "failed")


class Controls:
    """The controls of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[web.RouteDef]:
        """The controls' routes."""
        return [
            web.get("/_emulator/faults", self.get_faults),
            web.put("/_emulator/faults", self.put_faults),
            web.get("/_emulator/deliveries", self.get_deliveries),
            web.post("/_emulator/checkout/{id}/pay", self.pay_session),
            web.post("/_emulator/checkout/{id}/authenticate", self.authenticate_session),
            web.post("/_emulator/payment_intents/{id}/authenticate", self.authenticate_intent),
        ]

    async def get_faults(self, _: web.Request) -> web.Response:
        """The fault script as it stands, `times` counted down."""
        return web.json_response(self._account.faults.to_json())

    async def put_faults(self, request: web.Request) -> web.Response:
        """Replace the whole fault script; 400 and nothing changed if it is not one."""
        account = self._account
        try:
            faults = parse_faults(await _json(request))
        except (InvalidFaults, StripeError) as error:
            return web.json_response({"error": {"message": str(error)}}, status=400)
        with account.storage.transaction():
            save_faults(account.storage, faults)
            account.faults = faults
            if faults.deliver:
                events.release_held(account)
        account.events_waiting()
        return web.json_response(faults.to_json())

    async def get_deliveries(self, _: web.Request) -> web.Response:
        """How the delivery of each event stands."""
        return web.json_response(events.deliveries(self._account))

    async def pay_session(self, request: web.Request) -> web.Response:
        """The buyer submits the checkout page: `{"payment_method"}`."""
        return await _act(
            request,
            "payment_method",
            lambda session_id, token: buyer.pay_session(self._account, session_id, token),
        )

    async def authenticate_session(self, request: web.Request) -> web.Response:
        """The buyer ends the 3-D Secure step of a session's intent: `{"outcome": "succeeded"|"failed"}`."""
        return await _act(
            request,
            "outcome",
            lambda session_id, outcome: buyer.authenticate_session(
                self._account, session_id, succeeded=_succeeded(outcome)
            ),
        )

    async def authenticate_intent(self, request: web.Request) -> web.Response:
        """The buyer ends the 3-D Secure step of an intent: `{"outcome": "succeeded"|"failed"}`."""
        return await _act(
            request,
            "outcome",
            lambda intent_id, outcome: buyer.authenticate_intent(
                self._account, intent_id, succeeded=_succeeded(outcome)
            ),
        )


async def _act(request: web.Request, field: str, act: Callable[[str, str], Answer]) -> web.Response:
    """Run `act` on the id in the path and the one field of the body."""
    try:
        answer = act(request.match_info["id"], _only_field(await _json(request), field))
    except StripeError as error:
        return web.json_response({"error": error.error}, status=error.status)
    return web.json_response(answer.body, status=answer.status)


def _only_field(document: object, field: str) -> str:
    fields = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    value = fields.get(field)
    if set(fields) != {field} or not isinstance(value, str):
        raise invalid_parameter(f'The body must be {{"{field}": "..."}}', param=field)
    return value


def _succeeded(outcome: str) -> bool:
    if outcome not in _OUTCOMES:
        raise invalid_parameter(f"outcome must be one of {', '.join(_OUTCOMES)}", param="outcome")
    return outcome == "succeeded"


async def _json(request: web.Request) -> object:
    try:
        return json.loads(await request.read())
    except ValueError:
        raise invalid_parameter("The body is no JSON.") from None
