"""A buyer's browser at Stripe: the card form of an intent, the page of a hosted session, the bank's 3-D Secure."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aiohttp import ClientError, ClientSession

PUBLISHABLE_KEY = "pk_test_demo"
TRIES = 8


class Paid(StrEnum):
    """How an attempt to pay ended, as the browser saw it."""

    PAID = "paid"
    DECLINED = "declined"
    CLOSED = "closed"


_END_OF_AN_INTENT = {"succeeded": Paid.PAID, "requires_payment_method": Paid.DECLINED}


class StripeSilent(Exception):
    """Stripe's address did not answer, however often it was asked."""


@dataclass
class Browser:
    """Talks to Stripe with a publishable key and the client secret, as Stripe.js does."""

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
        try:
            status, body = await self._send("POST", f"{path}/confirm", form=form)
        except ClientError:
            # Nobody knows whether the card was charged: the page looks before it does anything else.
            self.seen["connections lost while paying"] += 1
            status, body = 0, {}
        if status == 402:
            return Paid.DECLINED
        if status != 200:
            body = await self._look(f"{path}?key={PUBLISHABLE_KEY}&client_secret={secret}")
        if body["status"] == "requires_action":
            self.seen["3-D Secure"] += 1
            outcome = "failed" if fails_authentication else "succeeded"
            status, body = await self._send(
                "POST", f"/_emulator/payment_intents/{intent_id}/authenticate", json={"outcome": outcome}
            )
            if status != 200:  # declined after all, or cancelled meanwhile
                return Paid.DECLINED if status == 402 else Paid.CLOSED
        return _END_OF_AN_INTENT.get(body["status"], Paid.CLOSED)

    async def _submit_page(self, session_id: str, card: str, fails_authentication: bool) -> Paid:
        page = f"/_emulator/checkout/{session_id}"
        status, body = await self._send("POST", f"{page}/pay", json={"payment_method": card})
        if status == 200 and body["status"] == "open":
            self.seen["3-D Secure"] += 1
            outcome = "failed" if fails_authentication else "succeeded"
            status, body = await self._send("POST", f"{page}/authenticate", json={"outcome": outcome})
            if status == 200 and body["status"] == "open":
                return Paid.DECLINED
        if status == 402:
            return Paid.DECLINED
        return Paid.PAID if status == 200 and body["payment_status"] == "paid" else Paid.CLOSED

    async def _look(self, path: str) -> dict[str, Any]:
        for _ in range(TRIES):
            try:
                return (await self._send("GET", path))[1]
            except ClientError:
                await asyncio.sleep(0.05)
        raise StripeSilent(path)

    async def intent_of_session(self, session_id: str) -> str | None:
        """The intent behind a page, as the account's owner sees it."""
        headers = {"Authorization": f"Bearer {self.secret_key}"}
        async with self.http.get(
            f"{self.api_base}/v1/checkout/sessions/{session_id}", headers=headers
        ) as response:
            return (await response.json())["payment_intent"]

    async def _send(
        self,
        method: str,
        path: str,
        *,
        form: Mapping[str, str] | None = None,
        json: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        async with self.http.request(method, self.api_base + path, data=form, json=json) as response:
            return response.status, await response.json()
