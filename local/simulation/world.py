"""A running cloud as the steps of a run find it: what its callers hold, and what they are told."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import ClientError

from local.breakage.kills import Traps
from local.sale.hall_operator import Operator
from local.sale.sale import INVOKE
from local.sale.shop import Answer, Shop, complaint
from local.simulation.booking_records import BookingRecords
from local.simulation.booking_side import BookingSide, Held, signed_in
from local.simulation.database_side import DatabaseSide
from local.simulation.network import StepNetwork
from local.simulation.steps import Step
from local.simulation.stripe_side import Json, StripeSide

# What else may be answered here, where slots begin, close and go under their buyers' hands, customers are few, and callers
# forget what they have to send.
ALSO_NAMED: Mapping[str, frozenset[str]] = {
    "hold": frozenset({"429 too-many-holds", "409 slot-closed", "404 unknown-slot"}),
    "pay": frozenset({"409 nothing-to-pay"}),
    "book": frozenset({"401 unauthenticated", "422 idempotency-key-reused"}),
    "cancel booking": frozenset({"428 precondition-required"}),
    "reschedule": frozenset({"428 precondition-required", "404 unknown-slot", "422 invalid-request"}),
    "refund": frozenset({"422 idempotency-key-reused"}),
    "capacity": frozenset({"404 unknown-slot"}),
    "offering": frozenset({"428 precondition-required"}),
}
WEBHOOK = frozenset({"200", "429", "500 event-not-applied", "503 database-unavailable"})
COME_AGAIN = frozenset({"LockTimeout", "DatabaseUnavailable"})  # what a run may fail by that waited in vain
SIGNATURE_S = 300
BACK_UP_S, LOOKS_AGAIN_S = 30.0, 0.05
TROUBLES = {"dies", "cut", "stripe"}
BOOKING_STEPS = {
    *("book", "show booking", "cancel booking", "move", "refund booking"),
    *("grant", "credits expire", "schedule", "capacity", "price"),
}
BREAKER_S = 8.0  # after a death of the database functions may say for so long that it is away


@dataclass
class World:
    """Does steps. `wrong` collects what no caller should ever have been told."""

    shop: Shop
    stripe: StripeSide
    database: DatabaseSide
    operator: Operator
    network: StepNetwork
    traps: Traps
    clock_file: Path
    base_url: str
    jwt_secret: str
    queue_url: str
    kill: Callable[[str], bool]
    counts: Counter[str] = field(default_factory=Counter[str])
    deaths: Counter[str] = field(default_factory=Counter[str])
    answers: Counter[str] = field(default_factory=Counter[str])
    wrong: list[str] = field(default_factory=list[str])
    holds: dict[int, Held] = field(default_factory=dict[int, Held])
    asked: dict[int, Step] = field(default_factory=dict[int, Step])
    slots: list[str] = field(default_factory=list[str])
    clock_s: int = 0
    forced: set[str] = field(default_factory=set[str])
    _run: int = 0
    _troubles: int = 0
    _restarted_at: float = 0.0

    def __post_init__(self) -> None:
        """The booking side has the same shop, and the same slots."""
        self.bookings = BookingSide(
            shop=self.shop,
            records=BookingRecords(self.database),
            jwt_secret=self.jwt_secret,
            slots=self.slots,
            wrong=self.wrong,
            heard=self._heard,
            is_alone=lambda: self.network.expected < 2,
        )

    async def begin(self) -> None:
        """Another run: nothing has been sold yet."""
        self._run += 1
        self.holds, self.asked, self.forced = {}, {}, set()
        self.wrong.clear()
        self.bookings.begin(self._run)
        await self.database.wipe()
        self.stripe.forget()
        await self.be_well()
        self.slots[:] = await self.database.open_slots()

    async def be_well(self) -> None:
        """Nothing is broken any more, and clocks are right."""
        self.traps.remove()
        self.deaths.update(self.traps.sprung())
        self.network.armed = None
        self.set_clock(0)
        await self.stripe.strike()

    def set_clock(self, seconds: int) -> None:
        """The functions' clocks are off by so much."""
        self.clock_s = seconds
        self.clock_file.write_text(str(seconds))

    async def do(self, step: Step) -> None:
        """One step, with all that goes wrong in it."""
        # Those of a burst last as long as the burst: what one call is killed by may have been meant for another.
        troubles = sum(len(TROUBLES & each.keys()) for each in (step, *step.get("steps", ())))
        self._troubles += troubles
        if step["do"] == "deliver":
            await self.stripe.look_for_events()
        if "dies" in step:
            self.traps.set(step["dies"])
        if "cut" in step:
            self.network.armed = step["cut"][0], step["cut"][1]
        if "stripe" in step:
            await self.stripe.strike(*step["stripe"])
        await self._act(step)
        if "stripe" in step:
            await self.stripe.calm_down(*step["stripe"])
        if "cut" in step:
            self.network.armed = None
        if "dies" in step:
            self.traps.remove()
            self.deaths.update(self.traps.sprung())
        self._troubles -= troubles

    async def _act(self, step: Step) -> None:
        self.counts[step["do"]] += 1
        acts: Mapping[str, Callable[[Step], Awaitable[None]]] = {
            "at once": self._at_once, "hold": self._hold, "hold again": self._hold_again, "deliver": self._deliver,
            "cleanup": self._run_job, "outbox": self._run_job, "reconcile": self._run_job, "replay": self._replay,
            "wait": self._wait, "drop": self._drop, "end refund": self._end_refund, "decide": self._decide,
            "clock": self._clock, "begin": self._begin_slot, "restart": self._restart,
        }  # fmt: skip
        if act := acts.get(step["do"]):
            await act(step)
        elif step["do"] in BOOKING_STEPS:
            await self.bookings.do(step, self.holds.get(step.get("hold", 0)))
        elif held := self.holds.get(step["hold"]):
            of_a_hold: Mapping[str, Callable[[Step, Held], Awaitable[None]]] = {
                "pay": self._pay, "confirm": self._confirm, "cancel": self._cancel, "expire": self._expire,
                "refund": self._refund, "dispute": self._dispute, "settle": self._settle,
                "second intent": self._second_intent, "end by force": self._end_by_force,
            }  # fmt: skip
            await of_a_hold[step["do"]](step, held)

    async def _at_once(self, step: Step) -> None:
        self.network.expected = len(step["steps"])
        await asyncio.gather(*(self.do(each) for each in step["steps"]))
        self.network.expected = 0

    # Callers of the functions.

    async def _hold(self, step: Step) -> None:
        self.asked[step["hold"]] = step
        slots: list[str] = [self.slots[slot] for slot in step["slots"]]
        items = [{"slot_id": slot, "units": step["units"]} for slot in slots]
        customer = {"email": f"customer-{step['customer']}@example.com", "name": "Ada"}
        key = f"run-{self._run:08}-hold-{step['hold']:08}"
        answer = await self.shop.hold({"items": items, "customer": customer}, key)
        self._heard("hold", answer)
        if answer.kind != "201":
            return
        before = self.holds.get(step["hold"])
        if before and before.id != answer.body["id"]:
            self.wrong.append(f"hold {step['hold']}: one key, two holds {before.id} and {answer.body['id']}")
        self.holds.setdefault(
            step["hold"], Held(answer.body["id"], answer.body["token"], answer.body["amount"])
        )
        granted_now = "idempotent-replayed" not in {name.lower() for name in answer.headers}
        if granted_now and self.bookings.is_alone() and (closed := await self.bookings.records.legacy(slots)):
            self.wrong.append(f"legacy slots are not sold: {sorted(closed)} were held")

    async def _hold_again(self, step: Step) -> None:
        if first := self.asked.get(step["hold"]):
            await self._hold(first)

    async def _pay(self, step: Step, held: Held) -> None:
        key = f"run-{self._run:08}-pay-{step['key']}-{step['mode']}" if step["key"] else None
        answer = await self.shop.pay({"reservation_id": held.id, "mode": step["mode"]}, held.token, key)
        self._heard("pay", answer)
        if answer.kind in ("200", "201"):
            held.payment = answer.body
            if answer.body["amount"] != held.amount:
                self.wrong.append(
                    f"the price is the hold's: {answer.body['amount']} instead of {held.amount}"
                )

    async def _cancel(self, step: Step, held: Held) -> None:
        del step
        self._heard("cancel", await self.shop.cancel(held.id, held.token))

    async def _run_job(self, step: Step) -> None:
        job = {
            "cleanup": "reservation-cleanup",
            "outbox": "deliver-outbox",
            "reconcile": "reconcile-payments",
        }
        failed, answer = await self.invoke(job[step["do"]])
        self.answers[f"{step['do']}: {'failed' if failed else 'done'}"] += 1
        if failed and not self._is_in_trouble and answer.get("errorType") not in COME_AGAIN:
            self.wrong.append(f"{step['do']}: {answer}")

    async def invoke(self, function: str) -> tuple[bool, Json]:
        """Whether it failed, and its answer."""
        try:
            async with self.shop.http.post(self.base_url + INVOKE.format(function), json={}) as answer:
                body = await answer.json()
                return answer.status != 200 or "X-Amz-Function-Error" in answer.headers, body
        except (ClientError, TimeoutError) as failure:
            return True, {"connection": repr(failure)}

    async def _replay(self, step: Step) -> None:
        headers = signed_in(self.jwt_secret, "admin", "admin")
        body = {"status": step["status"], "dry_run": False}
        url = f"{self.base_url}/admin/webhook-events/replay"
        async with self.shop.http.post(url, json=body, headers=headers) as answer:
            self.answers[f"replay: {answer.status}"] += 1

    async def _deliver(self, step: Step) -> None:
        for event in self.stripe.choose(step["picks"], again=step.get("again", False)):
            status, text = await self.stripe.bring(event)
            kind = f"{status} {Answer('', {}, text).body.get('type', '').removeprefix('/problems/')}".rstrip()
            self.answers[f"deliver: {kind}"] += 1
            refused = kind == "400 invalid-signature"
            if refused != (abs(self.clock_s) > SIGNATURE_S) and (refused or kind == "200"):
                self.wrong.append(f"{event['type']}: {kind} with clocks {self.clock_s} s off")
            elif not refused and kind not in WEBHOOK and not self._is_in_trouble:
                self.wrong.append(f"{event['type']}: {kind} {text[:120]}")

    def _heard(self, call: str, answer: Answer) -> None:
        self.answers[f"{call}: {answer.kind}"] += 1
        if answer.kind not in ALSO_NAMED.get(call, ()) and (wrong := complaint(call, answer)):
            self.wrong.append(f"{call}: {wrong}")

    @property
    def _is_in_trouble(self) -> bool:
        """Whether something is broken on purpose just now, so that calls may come to nothing."""
        return self._troubles > 0 or time.monotonic() < self._restarted_at + BREAKER_S

    # Time, and what operators do.

    async def _wait(self, step: Step) -> None:
        del step
        await self.database.let_leases_end()

    async def _expire(self, step: Step, held: Held) -> None:
        del step
        await self.database.expire(held.id)

    async def _end_by_force(self, step: Step, held: Held) -> None:
        del step
        self.forced.add(held.id)
        await self.operator.end_by_force([held.id])

    async def _begin_slot(self, step: Step) -> None:
        number: int = step["slot"]
        await self.database.begin_slot(self.slots[number], step["hours"])

    async def _clock(self, step: Step) -> None:
        self.set_clock(step["seconds"])

    async def _restart(self, step: Step) -> None:
        """PostgreSQL dies; an event comes while it is away."""
        before = await self.database.started_at()
        if not self.kill("postgres"):
            return
        self._restarted_at = float("inf")
        await self._act(step["meanwhile"])
        for _ in range(int(BACK_UP_S / LOOKS_AGAIN_S)):
            if await self.database.started_at() not in (None, before):
                break
            await asyncio.sleep(LOOKS_AGAIN_S)
        self._restarted_at = time.monotonic()

    # Stripe's side.

    async def _drop(self, step: Step) -> None:
        await self.stripe.look_for_events()
        for event in self.stripe.choose([step["pick"]], again=False):
            self.stripe.waiting.remove(event)

    async def _confirm(self, step: Step, held: Held) -> None:
        outcome = {"outcome": "failed" if step["fails"] else "succeeded"}
        method = {"payment_method": step["method"]}
        if session := held.payment.get("checkout_session_id"):
            answer = await self.stripe.act(f"/checkout/{session}/pay", method)
            if answer.get("status") == "open":
                answer = await self.stripe.act(f"/checkout/{session}/authenticate", outcome)
        elif intent := held.payment.get("payment_intent_id"):
            answer = await self.stripe.ask("POST", f"/v1/payment_intents/{intent}/confirm", method)
            if answer.get("status") == "requires_action":
                answer = await self.stripe.act(f"/payment_intents/{intent}/authenticate", outcome)
        else:
            return
        status = answer.get("payment_status") or answer.get("status") or answer.get("error", {}).get("code")
        self.answers[f"confirm: {status}"] += 1

    async def _intent_of(self, held: Held) -> Json | None:
        """The newest payment of the hold at Stripe, if anything was ever tried."""
        if session := held.payment.get("checkout_session_id"):
            made = await self.stripe.ask("GET", f"/v1/checkout/sessions/{session}")
            intent = made.get("payment_intent")
        else:
            intent = held.payment.get("payment_intent_id")
        return await self.stripe.ask("GET", f"/v1/payment_intents/{intent}") if intent else None

    async def _refund(self, step: Step, held: Held) -> None:
        intent = await self._intent_of(held)
        if intent and intent.get("status") == "succeeded":
            amount = max(1, int(intent["amount"] * step["part"]))
            made = await self.stripe.act("/refunds", {"payment_intent": intent["id"], "amount": amount})
            self.answers[f"dashboard refund: {made.get('status', 'refused')}"] += 1

    async def _end_refund(self, step: Step) -> None:
        refunds = (await self.stripe.list_all("refunds"))[::-1]
        if refunds:
            refund = refunds[int(step["pick"] * len(refunds))]
            await self.stripe.act(f"/refunds/{refund['id']}", {"outcome": step["outcome"]})

    async def _dispute(self, step: Step, held: Held) -> None:
        intent = await self._intent_of(held)
        if intent and intent.get("status") == "succeeded":
            body = {"payment_intent": intent["id"], "inquiry": step["inquiry"]}
            made = await self.stripe.act("/disputes", body)
            self.answers[f"dispute: {made.get('status', 'refused')}"] += 1

    async def _decide(self, step: Step) -> None:
        disputes = (await self.stripe.list_all("disputes"))[::-1]
        if disputes:
            dispute = disputes[int(step["pick"] * len(disputes))]
            made = await self.stripe.act(f"/disputes/{dispute['id']}", {"outcome": step["outcome"]})
            self.answers[f"decide: {made.get('status', 'refused')}"] += 1

    async def _settle(self, step: Step, held: Held) -> None:
        intent = await self._intent_of(held)
        if intent and "id" in intent:
            made = await self.stripe.act(f"/payments/{intent['id']}", {"outcome": step["outcome"]})
            self.answers[f"settle: {made.get('status', 'refused')}"] += 1

    async def _second_intent(self, step: Step, held: Held) -> None:
        """As if Stripe had forgotten a key: another intent for the same payment."""
        first = await self._intent_of(held)
        if not first or "id" not in first:
            return
        form = {"amount": str(first["amount"]), "currency": first["currency"]}
        form |= {f"metadata[{name}]": value for name, value in first["metadata"].items()}
        second = await self.stripe.ask("POST", "/v1/payment_intents", form)
        if "id" not in second:
            return
        self.stripe.forgotten.add(second["id"])
        if step["paid"]:
            method = {"payment_method": "pm_card_visa"}
            await self.stripe.ask("POST", f"/v1/payment_intents/{second['id']}/confirm", method)
