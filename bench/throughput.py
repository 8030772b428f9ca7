"""Two environments under load, against the same acts behind gunicorn with two workers, on the same PostgreSQL."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from aiohttp import ClientSession, TCPConnector

from bench.figures import Aim, Figure, Spread
from bench.machine import cpu_seconds
from bench.shop import Shop
from bench.stand import NOOP, ROOT, Stand
from bench.warm import check
from local.child import free_port, spawn
from local.lambda_runtime.runtime import LambdaRuntime
from local.paths import PACKAGES
from local.supervision import port_answers
from tests.emulator_process import WEBHOOK_SECRET

SERVERS = 2
WEBHOOKS_IN_FLIGHT = 8
BUYERS = 32
AGAINST = f"gunicorn, {SERVERS} workers, the same SQL in one call"

type Send = Callable[[bytes], Awaitable[None]]


@dataclass
class Side:
    """What one side has shown, round by round."""

    rates: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])
    database_cpu: list[float] = field(default_factory=list[float])
    latencies: list[float] = field(default_factory=list[float])


async def measure(stand: Stand, rounds: int, requests: int) -> list[Figure]:
    """Webhooks, then holds on one slot; `requests` a round, a round of each side in turn."""
    shop, runtime = Shop(stand), stand.runtime(limit=SERVERS)
    with psycopg.connect(stand.owner_url(), autocommit=True) as conn:
        conn.execute((Path(__file__).with_name("gunicorn.sql")).read_bytes())
    try:
        async with (
            gunicorn(stand) as (server, base_url),
            ClientSession(connector=TCPConnector(limit=0)) as web,
        ):
            load = _Load(stand, shop, runtime, server, base_url, web)
            await load.warm_up()
            webhooks = await load.webhooks(rounds, requests)
            holds = await load.holds(rounds, requests)
            empty = await load.empty(rounds, requests)
    finally:
        shop.close()
        await runtime.close()
    return _figures(webhooks, holds, Spread.of(empty.cpu).p50)


@asynccontextmanager
async def gunicorn(stand: Stand) -> AsyncGenerator[tuple[subprocess.Popen[bytes], str]]:
    """The server, its workers started."""
    port = free_port()
    environment = os.environ | {
        "PYTHONPATH": PACKAGES,
        "DATABASE_URL": stand.app_url(),
        "WEBHOOK_SECRET": WEBHOOK_SECRET,
    }
    command = [sys.executable, "-m", "gunicorn", "--workers", str(SERVERS), "--bind", f"127.0.0.1:{port}"]
    command += ["--no-control-socket", "bench.gunicorn_app:app"]
    with (stand.folder / "gunicorn.log").open("wb") as log:
        server = spawn(command, environment=environment, folder=ROOT, output=log)
    try:
        while not await port_answers(port):  # noqa: ASYNC110 - a process has no event to wait for
            await asyncio.sleep(0.05)
        yield server, f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        await asyncio.to_thread(server.wait)


@dataclass(frozen=True)
class _Load:
    stand: Stand
    shop: Shop
    runtime: LambdaRuntime
    server: subprocess.Popen[bytes]
    base_url: str
    web: ClientSession

    async def warm_up(self) -> None:
        """Both environments of each function, both workers: started, connected, their caches filled."""
        await self.webhooks(1, 60)
        await self.holds(1, 60)
        await self.empty(1, 60)

    async def webhooks(self, rounds: int, requests: int) -> tuple[Side, Side]:
        """Events that book, each once."""
        ours, limit = Side(), Side()
        for _ in range(rounds):
            events = [self.shop.webhook_event(payment) for payment in self.shop.payments(requests)]
            await self._round(ours, events, self._invoke("stripe-webhook"), WEBHOOKS_IN_FLIGHT)
            posts = [self.shop.webhook_request(payment) for payment in self.shop.payments(requests)]
            bodies = [json.dumps([body.decode(), signed]).encode() for body, signed in posts]
            await self._round(limit, bodies, self._post_webhook, WEBHOOKS_IN_FLIGHT)
        return ours, limit

    async def holds(self, rounds: int, requests: int) -> tuple[Side, Side]:
        """One unit of one slot, which is a fresh one for each round of each side."""
        ours, limit = Side(), Side()
        for _ in range(rounds):
            self.shop.slot = self.shop.new_slot()
            events = [self.shop.hold_event() for _ in range(requests)]
            await self._round(ours, events, self._invoke("reservations"), BUYERS)
            self.shop.slot = self.shop.new_slot()
            bodies = [json.loads(self.shop.hold_event())["body"].encode() for _ in range(requests)]
            await self._round(limit, bodies, self._post_hold, BUYERS)
        return ours, limit

    async def empty(self, rounds: int, requests: int) -> Side:
        """The runtime client's own share: events that nobody looks at."""
        side = Side()
        for _ in range(rounds):
            await self._round(side, [b"{}"] * requests, self._invoke(NOOP), WEBHOOKS_IN_FLIGHT)
        return side

    def _invoke(self, function: str) -> Send:
        async def send(event: bytes) -> None:
            outcome = await self.runtime.invoke(self.stand.functions[function], event)
            check(function, outcome.payload, outcome.error)

        return send

    async def _post_webhook(self, packed: bytes) -> None:
        body, signed = json.loads(packed)
        await self._post("/webhook", body.encode(), {"Stripe-Signature": signed})

    async def _post_hold(self, body: bytes) -> None:
        await self._post("/hold", body, {})

    async def _post(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        async with self.web.post(self.base_url + path, data=body, headers=headers) as response:
            await response.read()
            response.raise_for_status()

    async def _round(self, side: Side, requests: Sequence[bytes], send: Send, in_flight: int) -> None:
        waiting = iter(requests)
        postgres = self.stand.postgres.process
        servers = [environment.pid for environment in self.runtime.environments()] + [self.server.pid]

        async def client() -> None:
            for request in waiting:
                began = time.perf_counter()
                await send(request)
                side.latencies.append((time.perf_counter() - began) * 1000)

        def used() -> tuple[float, float]:
            return sum(map(cpu_seconds, servers)), cpu_seconds(postgres.pid) if postgres else 0.0

        before, began = used(), time.perf_counter()
        await asyncio.gather(*(client() for _ in range(in_flight)))
        elapsed, after = time.perf_counter() - began, used()
        side.rates.append(len(requests) / elapsed)
        side.cpu.append((after[0] - before[0]) * 1000 / len(requests))
        side.database_cpu.append((after[1] - before[1]) * 1000 / len(requests))


def _figures(webhooks: tuple[Side, Side], holds: tuple[Side, Side], empty: float) -> list[Figure]:
    share = f"{empty:.2f} s of it is the runtime client's, with an empty handler"
    figures: list[Figure] = []
    for topic, (ours, limit), cpu_aim, rate_aim in (
        (f"webhooks, {SERVERS} environments", webhooks, Aim("at most", 1.3), None),
        (f"holds of one slot, {BUYERS} clients", holds, None, Aim("at least", 0.7)),
    ):
        note = f"{WEBHOOKS_IN_FLIGHT} in flight" if cpu_aim else "granted"
        figures += [
            Figure(
                topic,
                "a second",
                "/s",
                Spread.of(ours.rates),
                AGAINST,
                Spread.of(limit.rates),
                rate_aim,
                note=note,
                why="whoever plays Lambda, the runtime client and the server share the same cores",
            ),
            Figure(
                topic,
                "server CPU seconds per 1000",
                "s",
                Spread.of(ours.cpu),
                AGAINST,
                Spread.of(limit.cpu),
                cpu_aim,
                note=f"{share}; PostgreSQL's own, not counted: "
                f"{Spread.of(ours.database_cpu).p50:.2f} s and {Spread.of(limit.database_cpu).p50:.2f} s",
                why=f"{share}; the rest decides in Python between two batches of statements, and logs and counts",
            ),
            Figure(
                topic,
                "one answer",
                "ms",
                Spread.of(ours.latencies),
                AGAINST,
                Spread.of(limit.latencies),
                None,
            ),
        ]
    return figures
