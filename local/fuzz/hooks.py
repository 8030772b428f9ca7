"""Loaded by schemathesis: what it makes up is sent by somebody, about things that are there.

Half-random calls would end at the door: nobody guesses a token, an id or a signature. So most calls are signed in, and
a name is mostly one of something that is there. What was made up to be refused stays as it is: schemathesis looks
again at what is sent, and at whether it should be.
"""

import atexit
import hashlib
import hmac
import json
import os
import time
from collections import Counter
from collections.abc import MutableMapping
from pathlib import Path
from random import Random
from typing import Any

import jwt
import requests
import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.core import NotSet

from local.fuzz.known import KNOWN, USERS, Known, is_uuid, pay

type AnyCase = Case[Any]

STACK: dict[str, Any] = json.loads(Path(os.environ["FUZZ_STACK"]).read_text())
STRIPE: dict[str, Any] = STACK["stripe"]
SIGNED_IN = 0.9
PAID = 0.7
CARDS = ("pm_card_visa", "pm_card_visa", "pm_card_visa_chargeDeclined", "pm_card_authenticationRequired")
STRANGE: tuple[Any, ...] = (None, "", -1, 10**12, [], {}, "pi_x", True)
# What comes before anybody is asked who they are: a method or a body that cannot be.
NOT_SIGNED_IN = (401, 405, 413)

chance = Random(os.environ["FUZZ_SEED"])
known = Known(STACK, chance)
answers: Counter[tuple[str, int]] = Counter()


def _headers(case: AnyCase) -> MutableMapping[str, str]:
    return case.headers  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def before_call(_: HookContext, case: AnyCase, kwargs: dict[str, Any]) -> None:  # noqa: ARG001 - as it is called
    """Puts names that are known in the place of made up ones, and signs in."""
    made_up_to_be_refused = case.meta is not None and case.meta.generation.mode.is_negative
    if not made_up_to_be_refused:
        case.path_parameters = known.in_place_of(case.path_parameters)
        case.query = known.in_place_of(case.query)
        case.body = known.in_place_of(case.body)
    if hold := known.hold():
        _be_about(case, hold)
    definition: dict[str, Any] = case.operation.definition.raw
    if "security" in definition and "Authorization" not in _headers(case) and chance.random() < SIGNED_IN:
        token = STACK["admin_token"] if chance.random() < SIGNED_IN else _customer()
        _headers(case)["Authorization"] = f"Bearer {token}"
    if (
        case.operation.path == "/stripe-webhook/"
        and not isinstance(case.body, NotSet)
        and chance.random() < KNOWN
    ):
        _sign(case)


def _customer() -> str:
    claims = {"sub": chance.choice(USERS), "role": "customer", "exp": int(time.time()) + 3600}
    return jwt.encode(claims, STACK["jwt_secret"], algorithm="HS256")


def _be_about(case: AnyCase, hold: dict[str, Any]) -> None:
    """A hold, and the booking that was made of it, are known to the holder of the token alone."""
    for name in ("reservation_id", "booking_id"):
        for place in (case.path_parameters, case.body):
            if isinstance(place, dict) and name in hold and is_uuid(place.get(name)):
                place[name] = hold[name]
    if "X-Reservation-Token" in {header.name for header in case.operation.headers}:
        _headers(case)["X-Reservation-Token"] = hold["token"]
    if "version" in hold and "If-Match" in _headers(case):
        _headers(case)["If-Match"] = f'"{hold["version"]}"'


def _sign(case: AnyCase) -> None:
    """Most of what comes to the webhook is signed, and most of that is an event of Stripe's, as it was or a little bent."""
    if chance.random() < PAID and (events := _events()):
        case.body = _bent(chance.choice(events))
    payload = json.dumps(case.body).encode()  # as it is going to be sent
    stamp = int(time.time())
    mac = hmac.new(STRIPE["webhook_secrets"][0].encode(), f"{stamp}.".encode() + payload, hashlib.sha256)
    _headers(case)["Stripe-Signature"] = f"t={stamp},v1={mac.hexdigest()}"


def _events() -> list[dict[str, Any]]:
    url = f"{STRIPE['api_base']}/v1/events?limit=50"
    return requests.get(url, auth=(STRIPE["secret_key"], ""), timeout=10).json()["data"]


def _bent(event: dict[str, Any]) -> dict[str, Any]:
    """The event under a new id, with up to two of its object's fields gone or strange."""
    about = dict(event["data"]["object"])
    for _ in range(chance.choice((0, 0, 1, 2))):
        about[chance.choice(sorted(about))] = chance.choice(STRANGE)
    return {**event, "id": f"evt_{chance.getrandbits(64):016x}", "data": {"object": about}}


def filter_query(_: HookContext, query: dict[str, Any] | None) -> bool:
    """A parameter that is empty is not there, whatever its schema asks of one that is: nothing is to be refused by it."""
    return "" not in (query or {}).values()


def after_call(_: HookContext, case: AnyCase, response: Response) -> None:
    """Learns what has come to be, and pays what is to be paid."""
    operation: str = case.operation.definition.raw["operationId"]
    answers[operation, response.status_code] += 1
    if response.status_code not in (200, 201, 202) or "json" not in response.headers["content-type"][0]:
        return
    answer = response.json()
    known.learn_from(operation, answer)
    if operation == "create-payment-intent.post_payment" and chance.random() < PAID:
        pay(STRIPE, answer, chance.choice(CARDS))


def nobody_passes_unknown(_: CheckContext, response: Response, case: AnyCase) -> None:
    """Where the document asks for a sign-in, a call without one is answered 401."""
    asked: list[dict[str, Any]] = case.operation.definition.raw.get("security", [{}])
    if (
        {} not in asked
        and "Authorization" not in _headers(case)
        and response.status_code not in NOT_SIGNED_IN
    ):
        raise AssertionError(f"{response.status_code} without a sign-in")


def _write_answers() -> None:
    lines = [f"{operation} {status} {times}\n" for (operation, status), times in sorted(answers.items())]
    Path(os.environ["FUZZ_ANSWERS"]).write_text("".join(lines))


schemathesis.hook(before_call)  # pyright: ignore[reportUnknownMemberType]
schemathesis.hook(filter_query)  # pyright: ignore[reportUnknownMemberType]
schemathesis.hook(after_call)  # pyright: ignore[reportUnknownMemberType]
schemathesis.check(nobody_passes_unknown)
atexit.register(_write_answers)
