"""A cold start of each function, and what it keeps in memory once it is warm."""

import time

from bench.figures import Aim, Figure, Spread, constant
from bench.machine import resident_mb
from bench.shop import Shop
from bench.stand import EVERYTHING, NOOP, Alone, Stand
from bench.warm import check
from local.lambda_runtime.environment import ExecutionEnvironment
from local.lambda_runtime.runtime import LambdaRuntime

AIMS = {"health": 0.45, "log-error": 0.45, "stripe-webhook": 0.75, "create-payment-intent": 0.8}
WHY = {
    "health": "most of it is psycopg, pydantic and Powertools' resolver, and it needs all three",
    "log-error": "most of it is psycopg, pydantic and Powertools' resolver, and it needs all three",
    "stripe-webhook": "most of it is psycopg, pydantic and Powertools' resolver, and it needs all three",
    "create-payment-intent": "it needs all but sentry, boto3 and PyJWT, Stripe's SDK above all",
}
MEMORY_MB = 130.0
WARM_CALLS = 20
# They are the limits.
LEFT_OUT = frozenset({NOOP, EVERYTHING})


async def measure(stand: Stand, rounds: int) -> list[Figure]:
    """`rounds` starts of each function, the one with every package among them as often as all others together."""
    runtime, shop = stand.runtime(), Shop(stand)
    shop.nothing_to_deliver()
    names = sorted(stand.functions.keys() - LEFT_OUT)
    ours: dict[str, list[float]] = {name: [] for name in names}
    limit: list[float] = []
    memory: dict[str, float] = {}
    try:
        for name in (EVERYTHING, *names):  # compiles what is not compiled yet, and fills the page cache
            await _start(stand, runtime, name, shop)
        for _ in range(rounds):
            for position, name in enumerate(names):
                ours[name].append(await _start(stand, runtime, name, shop))
                if position % 3 == 0:
                    limit.append(await _start(stand, runtime, EVERYTHING, shop))
        for name in names:
            memory[name] = await _warm_memory(stand, runtime, name, shop)
    finally:
        shop.close()
        await runtime.close()
    against = "the same start of a function that imports every package"
    figures = [
        Figure(
            "cold start",
            name,
            "ms",
            Spread.of(taken),
            against,
            Spread.of(limit),
            Aim("at most", AIMS[name]) if name in AIMS else None,
            note="/ready, without the inbox: asking a queue how it is brings boto3"
            if name == "health"
            else "",
            why=WHY.get(name, ""),
        )
        for name, taken in ours.items()
    ]
    return figures + [
        Figure(
            "resident memory, warm",
            name,
            "MB",
            constant(used),
            f"{MEMORY_MB:.0f} MB",
            constant(MEMORY_MB),
            Aim("at most", 1.0),
        )
        for name, used in memory.items()
    ]


async def _start(stand: Stand, runtime: LambdaRuntime, name: str, shop: Shop) -> float:
    """Milliseconds from the process's start to its first answer, Stripe's time taken off."""
    event = shop.usual_event(name)
    environment = ExecutionEnvironment(runtime.pools[name].blueprint, name, Alone(), stand.journal)
    stand.stripe_clock.taken()
    began = time.perf_counter()
    try:
        await environment.start()
        outcome = await environment.invoke(event)
        seconds = time.perf_counter() - began - stand.stripe_clock.taken()
    finally:
        await environment.close()
    check(name, outcome.payload, outcome.error)
    return seconds * 1000


async def _warm_memory(stand: Stand, runtime: LambdaRuntime, name: str, shop: Shop) -> float:
    for _ in range(WARM_CALLS):
        outcome = await runtime.invoke(stand.functions[name], shop.usual_event(name))
        check(name, outcome.payload, outcome.error)
    (environment,) = runtime.pools[name].environments
    return resident_mb(environment.pid)
