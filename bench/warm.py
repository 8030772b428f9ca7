"""A warm invocation of each function, against an empty one in the same runtime plus its SQL alone."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from bench import bare
from bench.figures import Aim, Figure, Spread
from bench.shop import Shop
from bench.stand import NOOP, Stand
from local.lambda_runtime.runtime import LambdaRuntime

EXPIRED = 50
AIM = Aim("at most", 1.5)
AGAINST = "an empty handler in the same runtime + the same SQL alone"


@dataclass(frozen=True)
class Act:
    """One function's act. `scene` makes what one call of it uses up: the function's event, or what the SQL is given."""

    name: str
    function: str
    event: Callable[[Shop], bytes]
    scene: Callable[[Shop], Any]
    sql: Callable[[psycopg.Connection, Any], None]
    note: str = ""
    why: str = "Powertools' routing, a line of log and a flush of metrics beside little SQL"


def _cleanup_event(shop: Shop) -> bytes:
    shop.expired_holds(EXPIRED)
    return b"{}"


ACTS: Sequence[Act] = (
    Act(
        "hold",
        "reservations",
        Shop.hold_event,
        lambda shop: json.loads(json.loads(shop.hold_event())["body"]),
        bare.hold,
    ),
    Act(
        "pay",
        "create-payment-intent",
        lambda shop: shop.pay_event(*shop.holds(1)),
        lambda shop: shop.holds(1)[0],
        bare.pay,
        "Stripe's time taken off, its SDK's left in",
        "most of the rest is Stripe's SDK and requests at work on one call: form, headers, objects",
    ),
    Act(
        "webhook",
        "stripe-webhook",
        lambda shop: shop.webhook_event(*shop.payments(1)),
        lambda shop: shop.succeeded(*shop.payments(1)),
        bare.webhook,
        "payment_intent.succeeded that books",
    ),
    Act(
        "cleanup",
        "reservation-cleanup",
        _cleanup_event,
        lambda shop: shop.expired_holds(EXPIRED),
        bare.cleanup,
        f"{EXPIRED} unpaid holds a run",
    ),
)


class NotAnswered(Exception):
    """A function did not do what is measured; the message is what it said."""


async def timed(runtime: LambdaRuntime, stand: Stand, function: str, event: bytes) -> float:
    """Milliseconds of one invocation, Stripe's taken off; raises NotAnswered unless it went well."""
    stand.stripe_clock.taken()
    began = time.perf_counter()
    outcome = await runtime.invoke(stand.functions[function], event)
    seconds = time.perf_counter() - began - stand.stripe_clock.taken()
    check(function, outcome.payload, outcome.error)
    return seconds * 1000


def check(function: str, payload: bytes, error: str | None) -> None:
    """Raises NotAnswered for anything but a success."""
    answer: Any = json.loads(payload)
    status = answer.get("statusCode", 200) if isinstance(answer, dict) else 200  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - plain JSON
    if error or status >= 300:
        raise NotAnswered(f"{function}: {payload[:500]!r}")


async def measure(stand: Stand, calls: int) -> list[Figure]:
    """`calls` of each act, one of each side after the other."""
    runtime, shop = stand.runtime(), Shop(stand)
    try:
        with stand.connect() as conn:
            return [await _measure(act, stand, runtime, shop, conn, calls=calls) for act in ACTS]
    finally:
        shop.close()
        await runtime.close()


async def _measure(
    act: Act, stand: Stand, runtime: LambdaRuntime, shop: Shop, conn: psycopg.Connection, *, calls: int
) -> Figure:
    ours: list[float] = []
    limit: list[float] = []
    warm_up = max(calls // 10, 5)
    for number in range(-warm_up, calls):
        event = act.event(shop)
        mine = await timed(runtime, stand, act.function, event)
        empty = await timed(runtime, stand, NOOP, event)
        scene = act.scene(shop)
        began = time.perf_counter()
        act.sql(conn, scene)
        least = empty + (time.perf_counter() - began) * 1000
        if number >= 0:
            ours.append(mine)
            limit.append(least)
    return Figure(
        "warm invocation",
        act.name,
        "ms",
        Spread.of(ours),
        AGAINST,
        Spread.of(limit),
        AIM,
        note=act.note,
        why=act.why,
    )
