"""Stripe's side of a run: its buyers, banks, and dashboard, and the courier who brings its events.

The emulator drops every event; they are listed and brought by steps, each when its step says, signed as Stripe signs.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientSession

from local.promises import RESERVATION_ID
from local.simulation.steps import FAULTS
from local.stripe_emulator.delivery import signature

type Json = dict[str, Any]

# No event is delivered, and nothing ends, by itself.
CALM: Mapping[str, object] = {"drop": 1.0, "settle_s": 30 * 86_400}
OVER = ("succeeded", "canceled")
AWAITING = ("processing", "requires_action")


@dataclass
class StripeSide:
    """One account of the emulator; `waiting` are the events that nobody has brought yet, the oldest first."""

    http: ClientSession
    api_base: str
    secret_key: str
    webhook_secret: str
    webhook_url: str
    waiting: list[Json] = field(default_factory=list[Json])
    brought: list[Json] = field(default_factory=list[Json])
    forgotten: set[str] = field(default_factory=set[str])
    struck: Counter[str] = field(default_factory=Counter[str])
    _last_event_id: str | None = None
    _one_looks: asyncio.Lock = field(default_factory=asyncio.Lock)

    def forget(self) -> None:
        """Another run begins, on an empty account."""
        self.waiting, self.brought, self.forgotten, self._last_event_id = [], [], set(), None

    async def ask(self, method: str, path: str, form: Mapping[str, str] | None = None) -> Json:
        """The API's answer, an error or not, with the account's key; empty where the connection broke."""
        headers = {"Authorization": f"Bearer {self.secret_key}"}
        try:
            async with self.http.request(method, self.api_base + path, data=form, headers=headers) as answer:
                return await answer.json()
        except (ClientError, TimeoutError):
            return {}

    async def act(self, path: str, body: Mapping[str, object]) -> Json:
        """What people and banks do; a refusal is an answer like any other."""
        try:
            async with self.http.post(f"{self.api_base}/_emulator{path}", json=body) as answer:
                return await answer.json()
        except (ClientError, TimeoutError):
            return {}

    async def strike(self, fault: str | None = None, times: int = 1) -> None:
        """The next calls fail so; without a fault none does. Counts how many have."""
        url = f"{self.api_base}/_emulator/faults"
        rule = [{"times": times, **FAULTS[fault]}] if fault else []
        async with self.http.put(url, json={**CALM, "responses": rule}) as answer:
            answer.raise_for_status()

    async def calm_down(self, fault: str, times: int) -> None:
        """No call fails any more; those that did are counted."""
        async with self.http.get(f"{self.api_base}/_emulator/faults") as answer:
            rules = (await answer.json())["responses"]
        self.struck[fault] += times - sum(rule["times"] for rule in rules)
        await self.strike()

    async def list_all(self, kind: str) -> list[Json]:
        """Every object of a kind, the newest first."""
        found: list[Json] = []
        while True:
            after = f"&starting_after={found[-1]['id']}" if found else ""
            page = await self.ask("GET", f"/v1/{kind}?limit=100{after}")
            found += page.get("data", [])
            if not page.get("has_more"):
                return found

    async def live_intents(self) -> Counter[str]:
        """How many payments could be made now, by reservation; second ones that Stripe made by mistake do not count."""
        sessions = await self.list_all("checkout/sessions")
        closed = {session["payment_intent"] for session in sessions if session["status"] != "open"}
        return Counter(
            intent["metadata"][RESERVATION_ID]
            for intent in await self.list_all("payment_intents")
            if intent["status"] not in OVER and intent["id"] not in self.forgotten | closed
        )

    async def end_what_is_pending(self, *, well: bool) -> None:
        """Refunds, debits and vouchers come to their end."""
        await self.act("/pending", {})
        for intent in await self.list_all("payment_intents"):
            if intent["status"] in AWAITING:
                await self.act(f"/payments/{intent['id']}", {"outcome": "succeeded" if well else "failed"})
                await self.act(f"/payments/{intent['id']}", {"outcome": "expired"})

    # The courier.

    async def look_for_events(self) -> None:
        """What has happened since the last look is waiting now."""
        async with self._one_looks:
            if self._last_event_id is None:
                events = (await self.list_all("events"))[::-1]
            else:
                page = await self.ask("GET", f"/v1/events?limit=100&ending_before={self._last_event_id}")
                events = page.get("data", [])[::-1]
            if events:
                self._last_event_id = events[-1]["id"]
                self.waiting += events

    def choose(self, picks: list[float], *, again: bool) -> list[Json]:
        """Events to bring, in the picks' order; `again`: of those that were brought already."""
        pool = self.brought if again else self.waiting
        return [pool[int(pick * len(pool))] for pick in picks] if pool else []

    async def bring(self, event: Json) -> tuple[str, str]:
        """The answer's status and text; `0` where the connection broke. A 2xx: it need not be brought again."""
        payload = json.dumps(event)
        signed = signature(payload, self.webhook_secret, int(time.time()))
        headers = {"Stripe-Signature": signed, "Content-Type": "application/json"}
        try:
            async with self.http.post(self.webhook_url, data=payload.encode(), headers=headers) as answer:
                status, text = str(answer.status), await answer.text()
        except (ClientError, TimeoutError) as failure:
            return "0", repr(failure)
        if status == "200" and event in self.waiting:
            self.waiting.remove(event)
            self.brought.append(event)
        return status, text
