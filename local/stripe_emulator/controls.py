"""What Stripe does not have: the addresses below /_emulator, which steer faults and play everybody else.

`GET /_emulator` lists them all. `GET` and `PUT /_emulator/faults` is the fault script; `GET
/_emulator/deliveries` tells how each event's delivery stands, `GET /_emulator/pending` what will end by itself
and when; the POSTs are in acts.py.
"""

import json
from functools import partial

from aiohttp import web

from local.stripe_emulator import events, pending
from local.stripe_emulator.account import Account
from local.stripe_emulator.acts import ACTS, Act
from local.stripe_emulator.errors import StripeError, invalid_parameter
from local.stripe_emulator.faults import InvalidFaults, parse_faults, save_faults

ROOT = "/_emulator"


class Controls:
    """The controls of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[web.RouteDef]:
        """The controls' routes."""
        return [
            web.get(ROOT, self.list_controls),
            web.get(f"{ROOT}/faults", self.get_faults),
            web.put(f"{ROOT}/faults", self.put_faults),
            web.get(f"{ROOT}/deliveries", self.get_deliveries),
            web.get(f"{ROOT}/pending", self.get_pending),
            *(web.post(ROOT + act.path, partial(self.post_act, act)) for act in ACTS),
        ]

    async def list_controls(self, _: web.Request) -> web.Response:
        """This list."""
        reads = [
            {"method": route.method, "path": route.path, "does": (route.handler.__doc__ or "").strip()}
            for route in self.routes()
            if route.method != "POST"
        ]
        posts = [
            {
                "method": "POST",
                "path": ROOT + act.path,
                "does": act.does,
                "required": list(act.parameters.required),
                "optional": sorted(act.parameters.fields.keys() - set(act.parameters.required)),
            }
            for act in ACTS
        ]
        return web.json_response([*reads, *posts])

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

    async def get_pending(self, _: web.Request) -> web.Response:
        """What will end by itself: how, and when (Unix seconds), the first to end first."""
        return web.json_response(
            [
                {"id": waiting.object_id, "outcome": waiting.outcome, "due_at": waiting.due_at}
                for waiting in pending.all_pending(self._account)
            ]
        )

    async def post_act(self, act: Act, request: web.Request) -> web.Response:
        """Do what the address says; a refusal has Stripe's shape of errors, and changes nothing."""
        try:
            given = act.read(await _json(request))
            answer = act.run(self._account, request.match_info.get("id", ""), given)
        except StripeError as error:
            return web.json_response({"error": error.error}, status=error.status)
        return web.json_response(answer.body, status=answer.status)


async def _json(request: web.Request) -> object:
    body = await request.read()
    if not body and request.method == "POST":
        return {}
    try:
        return json.loads(body)
    except ValueError:
        raise invalid_parameter("The body is no JSON.") from None
