"""A buyer's browser at Stripe: the card form of an intent, the page of a hosted session, the bank's 3-D Secure."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aiohttp import ClientError, ClientSession

PUBLISHABLE_KEY = "pk_test_demo"
PATIENCE_S = 90.0  # Stripe itself is killed here, and started again
PAUSE_S = 0.1


class Paid(StrEnum):
    """How an attempt to pay ended, as the browser saw it."""

    PAID = "paid"
    DECLINED = "declined"
    CLOSED = "closed"


class StripeSilent(Exception):
    """Stripe's address did not answer, however often it was asked."""


type Reply = tuple[int, dict[str, Any]]


@dataclass
class Browser:
    """Talks to Stripe with a publishable key and the client secret, as Stripe.js does.

    Whenever a connection breaks nobody knows whether the card was charged: the browser looks before it does anything.
    """

    http: ClientSession
    api_base: str
    secret_key: str
    seen: Counter[str] = field(default_factory=Counter[str])

    async def pay(self, payment: Mapping[str, Any], card: str, *, fails_authentication: bool) -> Paid:
        """Try a card on the payment that create-payment-intent has answered."""
        if "checkout_session_id" in payment:
            paid = await self._submit_page(payment["checkout_session_id"], card, fails_authentication)
        else:
            paid = await self._confirm(payment, card, fails_authentication)
        self.seen[paid] += 1
        return paid

    async def _confirm(self, payment: Mapping[str, Any], card: str, fails_authentication: bool) -> Paid:
        intent_id, secret = payment["payment_intent_id"], payment["client_secret"]
        form = {"key": PUBLISHABLE_KEY, "client_secret": secret, "payment_method": card}
        path = f"/v1/payment_intents/{intent_id}"
        status, intent = await self.ask("POST", f"{path}/confirm", form=form)
        if status == 402:
            return Paid.DECLINED
        look = f"{path}?key={PUBLISHABLE_KEY}&client_secret={secret}"
        if status != 200:
            intent = await self._look(look)
        if intent["status"] == "requires_action":
            self.seen["3-D Secure"] += 1
            outcome = {"outcome": "failed" if fails_authentication else "succeeded"}
            url = f"/_emulator/payment_intents/{intent_id}/authenticate"
            status, _ = await self.ask("POST", url, json=outcome)
            if status == 402:
                return Paid.DECLINED
            intent = await self._look(look)
        match intent["status"]:
            case "succeeded":
                return Paid.PAID
            case "requires_payment_method" | "requires_action":
                return Paid.DECLINED
            case _:
                return Paid.CLOSED

    async def _submit_page(self, session_id: str, card: str, fails_authentication: bool) -> Paid:
        page = f"/_emulator/checkout/{session_id}"
        status, session = await self.ask("POST", f"{page}/pay", json={"payment_method": card})
        if status == 200 and session["status"] == "open":
            self.seen["3-D Secure"] += 1
            outcome = {"outcome": "failed" if fails_authentication else "succeeded"}
            status, session = await self.ask("POST", f"{page}/authenticate", json=outcome)
        if status == 402:
            return Paid.DECLINED
        if status != 200:
            session = await self.session(session_id)
        if session["status"] == "open":
            return Paid.DECLINED
        return Paid.PAID if session["payment_status"] == "paid" else Paid.CLOSED

    async def session(self, session_id: str) -> dict[str, Any]:
        """A page as the account's owner sees it."""
        return await self._look(f"/v1/checkout/sessions/{session_id}", owner=True)

    async def act(self, path: str, body: Mapping[str, str]) -> dict[str, Any]:
        """What the buyer's bank does: the object at Stripe that it has changed."""
        status, changed = await self.ask("POST", f"/_emulator{path}", json=body)
        if status != 200:
            raise StripeSilent(f"{path}: {status}")
        return changed

    async def _look(self, path: str, *, owner: bool = False) -> dict[str, Any]:
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            status, body = await self.ask("GET", path, owner=owner)
            if status == 200:
                return body
            await asyncio.sleep(PAUSE_S)
        raise StripeSilent(path)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        form: Mapping[str, str] | None = None,
        json: Mapping[str, str] | None = None,
        owner: bool = False,
    ) -> Reply:
        """Status and body of one answer, 0 and nothing where the connection broke; `owner`: with the secret key."""
        headers = {"Authorization": f"Bearer {self.secret_key}"} if owner else {}
        try:
            async with self.http.request(
                method, self.api_base + path, data=form, json=json, headers=headers
            ) as response:
                return response.status, await response.json()
        except (ClientError, TimeoutError):
            self.seen["connections lost while paying"] += 1
            return 0, {}
