"""The functions' URLs as a buyer's page uses them, and a record of every answer that they gave."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from aiohttp import ClientError, ClientSession

# What each call may be answered: status, and the slug of a problem. Without a slug it is the platform's: 429 is its
# throttle, 502 an execution environment that was killed, 0 a connection that broke because all of it was killed.
PLATFORM = frozenset({"0", "429", "502"})
_ALWAYS = PLATFORM | {"409 lock-timeout", "503 database-unavailable"}
_PAYMENT = frozenset({"503 payment-provider-unavailable"})
_CHANGE = frozenset({"200", "412 version-conflict", "409 disputed", "409 booking-not-active"})
NAMED_ANSWERS: Mapping[str, frozenset[str]] = {
    "offerings": _ALWAYS | {"200"},
    "slots": _ALWAYS | {"200"},
    "hold": _ALWAYS | {"201", "409 sold-out", "409 request-in-progress"},
    "show": _ALWAYS | {"200"},
    "cancel": _ALWAYS | _PAYMENT | {"200", "409 already-paid"},
    "pay": _ALWAYS
    | _PAYMENT
    | {"200", "201", "409 request-in-progress", "409 already-paid", "409 payment-in-progress"}
    | {"409 reservation-expired", "409 reservation-cancelled"},
    # A class that was on the page may have left its schedule since.
    "hold a class": _ALWAYS
    | {"201", "409 sold-out", "409 request-in-progress", "409 slot-closed", "404 unknown-slot"},
    "book": _ALWAYS
    | _PAYMENT
    | {"200", "201", "409 request-in-progress", "409 already-paid", "409 insufficient-credits"}
    | {"409 not-offered", "409 reservation-expired", "409 reservation-cancelled", "409 slot-closed"},
    "booking": _ALWAYS | {"200"},
    "cancel booking": _ALWAYS | _CHANGE,
    "reschedule": _ALWAYS
    | _CHANGE
    | {"409 sold-out", "409 slot-closed", "409 not-offered", "404 unknown-slot"},
    "refund": _ALWAYS | {"202", "409 disputed", "422 refund-exceeds-paid"},
    "credits": _ALWAYS | {"201", "409 insufficient-credits"},
    "balance": _ALWAYS | {"200"},
    "schedule": _ALWAYS | {"200"},
    "offering": _ALWAYS | {"200", "201", "412 version-conflict"},
    "capacity": _ALWAYS | {"200", "409 below-sold"},
    "report": _ALWAYS | {"202"},
}
_BOOKING = frozenset({"id", "status", "payment_method", "payment_status", "version", "items"})
FIELDS: Mapping[str, frozenset[str]] = {
    "hold": frozenset({"id", "token", "status", "expires_at", "amount", "currency", "items"}),
    "show": frozenset({"id", "status", "expires_at", "amount", "currency", "items"}),
    "pay": frozenset({"payment_id", "amount", "currency", "status", "expires_at"}),
    "cancel": frozenset({"status"}),
    "hold a class": frozenset({"id", "token", "status", "expires_at", "amount", "currency", "items"}),
    "book": _BOOKING,
    "booking": _BOOKING,
    "cancel booking": _BOOKING,
    "reschedule": _BOOKING,
    "refund": frozenset({"id", "booking_id", "amount", "currency", "status", "reason"}),
    "credits": frozenset({"balance"}),
    "balance": frozenset({"balance"}),
    "schedule": frozenset({"created", "kept", "legacy", "deleted", "blocked"}),
    "offering": frozenset({"slug", "version", "add_ons"}),
    "capacity": frozenset({"id", "max_bookings", "max_units"}),
    "report": frozenset({"fingerprint", "occurrence_count", "new"}),
}
PROBLEM_FIELDS = frozenset({"type", "title", "status", "detail", "instance"})
COME_AGAIN = PLATFORM | {"409 lock-timeout", "409 request-in-progress"}
PATIENCE_S = 60.0
PAUSE_S = 0.4
LONGEST_PAUSE_S = 5.0  # buyers come sooner than they are told to


@dataclass(frozen=True)
class Answer:
    """One answer; `kind` is its status with the problem's slug, `0` where the connection broke."""

    kind: str
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object; empty where there is none."""
        try:
            value: object = json.loads(self.text)
        except ValueError:
            return {}
        return cast("dict[str, Any]", value) if isinstance(value, dict) else {}

    @property
    def says_come_again(self) -> bool:
        """Whether the same call is to be made again, under its key."""
        return self.kind in COME_AGAIN or self.kind.startswith("503 ")


@dataclass
class Shop:
    """All calls of all buyers go through here, so that no answer is overlooked."""

    http: ClientSession
    functions: Mapping[str, str]
    patience_s: float = PATIENCE_S
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    unnamed: list[str] = field(default_factory=list[str])
    milliseconds: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    async def offerings(self) -> list[dict[str, Any]]:
        """What is on sale."""
        return (await self.ask("offerings", "GET", "reservations", "/offerings")).body["offerings"]

    async def slots(self, offering: str) -> list[dict[str, Any]]:
        """An offering's slots with what is left of each."""
        path = f"/slots?offering={offering}"
        return (await self.ask("slots", "GET", "reservations", path)).body["slots"]

    async def hold(self, order: Mapping[str, Any], key: str) -> Answer:
        """Hold what is ordered."""
        headers = {"Idempotency-Key": key}
        return await self.ask("hold", "POST", "reservations", "/reservations", body=order, headers=headers)

    async def show(self, reservation_id: str, token: str) -> Answer:
        """The hold as it stands."""
        headers = {"X-Reservation-Token": token}
        return await self.ask(
            "show", "GET", "reservations", f"/reservations/{reservation_id}", headers=headers
        )

    async def cancel(self, reservation_id: str, token: str) -> Answer:
        """End the hold."""
        path = f"/reservations/{reservation_id}"
        return await self.ask(
            "cancel", "DELETE", "reservations", path, headers={"X-Reservation-Token": token}
        )

    async def pay(self, request: Mapping[str, Any], token: str, key: str | None) -> Answer:
        """The payment of the hold."""
        headers = {"X-Reservation-Token": token} | ({"Idempotency-Key": key} if key else {})
        return await self.ask("pay", "POST", "create-payment-intent", "/", body=request, headers=headers)

    async def hold_a_class(self, order: Mapping[str, Any], key: str) -> Answer:
        """Hold places in a class."""
        headers = {"Idempotency-Key": key}
        return await self.ask(
            "hold a class", "POST", "reservations", "/reservations", body=order, headers=headers
        )

    async def book(self, request: Mapping[str, Any], who: Mapping[str, str], key: str) -> Answer:
        """Book a hold without a payment; `who` are the headers that say who calls, here and below."""
        headers = {**who, "Idempotency-Key": key}
        return await self.ask("book", "POST", "bookings", "/bookings", body=request, headers=headers)

    async def booking(self, booking_id: str, who: Mapping[str, str]) -> Answer:
        """The booking as it stands."""
        return await self.ask("booking", "GET", "bookings", f"/bookings/{booking_id}", headers=who)

    async def move(
        self, booking_id: str, where: Mapping[str, str], version: int, who: Mapping[str, str]
    ) -> Answer:
        """Another slot for the booking of this version."""
        path, headers = f"/bookings/{booking_id}/reschedule", {**who, "If-Match": f'"{version}"'}
        return await self.ask("reschedule", "POST", "bookings", path, body=where, headers=headers)

    async def give_up(
        self, booking_id: str, why: Mapping[str, str], version: int, who: Mapping[str, str]
    ) -> Answer:
        """Cancel the booking of this version."""
        path, headers = f"/bookings/{booking_id}/cancel", {**who, "If-Match": f'"{version}"'}
        return await self.ask("cancel booking", "POST", "bookings", path, body=why, headers=headers)

    async def refund(
        self, booking_id: str, how_much: Mapping[str, Any], key: str, who: Mapping[str, str]
    ) -> Answer:
        """Some of the booking's money back, as an administrator."""
        path, headers = f"/bookings/{booking_id}/refunds", {**who, "Idempotency-Key": key}
        return await self.ask("refund", "POST", "bookings", path, body=how_much, headers=headers)

    async def schedule(self, offering: str, rules: Mapping[str, Any], who: Mapping[str, str]) -> Answer:
        """Other opening times, as an administrator."""
        path = f"/offerings/{offering}/schedule"
        return await self.ask("schedule", "PUT", "admin", path, body=rules, headers=who)

    async def room(self, slot_id: str, capacity: int, who: Mapping[str, str]) -> Answer:
        """Another capacity for one slot, as an administrator."""
        body = {"max_bookings": capacity, "max_units": capacity}
        return await self.ask("capacity", "PUT", "admin", f"/slots/{slot_id}", body=body, headers=who)

    async def grant(self, user_id: str, credit: int, key: str, who: Mapping[str, str]) -> Answer:
        """More credits, as an administrator; once under one key."""
        path, body = f"/customers/{user_id}/credits", {"delta": credit, "reason": "a gift"}
        headers = {**who, "Idempotency-Key": key}
        return await self.ask("credits", "POST", "admin", path, body=body, headers=headers)

    async def balance(self, user_id: str, who: Mapping[str, str]) -> Answer:
        """A customer's credits, as an administrator sees them."""
        return await self.ask("balance", "GET", "admin", f"/customers/{user_id}/credits", headers=who)

    async def report(self, error: Mapping[str, Any]) -> Answer:
        """What went wrong in the page."""
        return await self.ask("report", "POST", "log-error", "/", body=error)

    async def ask(
        self,
        call: str,
        method: str,
        function: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make a call, and make it again while the answer asks for that, as a page would; the last answer."""
        give_up_at = time.monotonic() + self.patience_s
        while True:
            answer = await self._ask_once(call, method, self.functions[function] + path, body, headers or {})
            if not answer.says_come_again or time.monotonic() > give_up_at:
                return answer
            await asyncio.sleep(min(float(answer.headers.get("Retry-After", PAUSE_S)), LONGEST_PAUSE_S))

    async def _ask_once(
        self,
        call: str,
        method: str,
        url: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
    ) -> Answer:
        began = time.perf_counter()
        try:
            async with self.http.request(method, url, json=body, headers=headers) as response:
                text = await response.text()
                answer = Answer(_kind(response.status, text), response.headers.copy(), text)
        except (ClientError, TimeoutError) as failure:
            answer = Answer("0", {}, f"{type(failure).__name__}: {failure}")
        self.milliseconds.setdefault(call, []).append((time.perf_counter() - began) * 1000)
        self.kinds[call, answer.kind] += 1
        if wrong := complaint(call, answer):
            self.unnamed.append(f"{call}: {wrong}")
        return answer


def _kind(status: int, text: str) -> str:
    slug = Answer("", {}, text).body.get("type")
    prefix = "/problems/"
    if isinstance(slug, str) and slug.startswith(prefix):
        return f"{status} {slug.removeprefix(prefix)}"
    return str(status)


def complaint(call: str, answer: Answer) -> str | None:
    """What is wrong with an answer: not one that this call may get, or not in the form that it must have."""
    if answer.kind not in NAMED_ANSWERS[call]:
        return f"{answer.kind} {answer.text[:160]}"
    if answer.kind in PLATFORM:
        return None
    missing: set[str] = set()
    if " " in answer.kind:
        if not answer.headers.get("Content-Type", "").startswith("application/problem+json"):
            return f"{answer.kind} as {answer.headers.get('Content-Type')}"
        missing = set(PROBLEM_FIELDS - answer.body.keys())
        if answer.kind == "409 sold-out":
            missing |= {"left"} - answer.body.keys()
        if answer.kind == "412 version-conflict":
            missing |= {"version"} - answer.body.keys()
        if answer.kind.startswith("503") and "Retry-After" not in answer.headers:
            missing |= {"Retry-After"}
    else:
        missing = set(FIELDS.get(call, frozenset()) - answer.body.keys())
    if "X-Request-Id" not in answer.headers:
        missing |= {"X-Request-Id"}
    return f"{answer.kind} without {', '.join(sorted(missing))}" if missing else None
