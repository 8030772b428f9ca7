"""The booking side of a run: holds booked otherwise, bookings changed, credits, the catalogue, as their callers know them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from local.sale.shop import Answer, Shop
from local.simulation.booking_records import ALL, BookingRecords, BookingRow
from local.simulation.database_side import FIRST_HOUR
from local.simulation.steps import TOGETHER, Step

LIFE_S = 30 * 86_400  # of a sign-in: longer than any clock is off
NEVER = "2099-01-01T00:00:00Z"  # credits expire when a step says so
MINUTES = 60
# What a change of the booking may have found that must refuse it.
NOT_CHANGED = ("frozen", "revoked")


@dataclass
class Held:
    """A hold as its buyer knows it; `payment` is what create-payment-intent answered last."""

    id: str
    token: str
    amount: int
    payment: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass
class BookingSide:
    """Does the steps of the booking side; `wrong` collects what no caller should have been told.

    `is_alone` says whether nobody else is at work, so that what a call finds is what was read before it.
    """

    shop: Shop
    records: BookingRecords
    jwt_secret: str
    slots: list[str]
    wrong: list[str]
    heard: Callable[[str, Answer], None]
    is_alone: Callable[[], bool]
    run: int = 0
    booked: dict[str, str] = field(default_factory=dict[str, str])
    changed: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    refunds: dict[str, str] = field(default_factory=dict[str, str])
    granted: dict[str, int] = field(default_factory=dict[str, int])
    _calls: int = 0

    def begin(self, run: int) -> None:
        """Another run: nothing has been booked yet."""
        self.run = run
        self.booked, self.changed, self.refunds, self.granted = {}, set(), {}, {}

    async def do(self, step: Step, held: Held | None) -> None:
        """One step; of a booking where `held` is the hold that it was made of."""
        match step["do"]:
            case "grant":
                await self._grant(step)
            case "credits expire":
                await self.records.expire_credits(step["pick"])
            case "schedule":
                await self._change_schedule(step)
            case "capacity":
                await self._change_capacity(step)
            case "price":
                await self._change_price(step)
            case "book" if held:
                await self._book(step, held)
            case _ if held and (row := await self.records.booking_of(held.id)):
                await self._about(step, held, row)
            case _:
                pass

    async def _about(self, step: Step, held: Held, row: BookingRow) -> None:
        match step["do"]:
            case "show booking":
                path = f"/bookings/{row.id}"
                headers = self._headers(step["who"], held, row)
                self.heard(
                    "booking", await self.shop.ask("booking", "GET", "bookings", path, headers=headers)
                )
            case "cancel booking":
                await self._cancel(step, held, row)
            case "move":
                await self._move(step, held, row)
            case _:
                await self._refund(step, held, row)

    async def violations(self) -> list[str]:
        """What is wrong with bookings and credits at this moment."""
        found = await self.records.violations()
        written = await self.records.granted()
        found += [
            f"credits are granted once: {reason} moved {moved} instead of {self.granted.get(reason)}"
            for reason, moved in written.items()
            if self.granted.get(reason) != moved
        ]
        return found

    # Holds and bookings.

    async def _book(self, step: Step, held: Held) -> None:
        headers = {"X-Reservation-Token": held.token}
        if step["user"] is not None:
            headers |= self._signed_in(f"user-{step['user']}")
        if step["key"]:
            headers["Idempotency-Key"] = f"run-{self.run:08}-book-{step['key']}"
        body = {"reservation_id": held.id, "payment_method": step["method"]}
        answer = await self.shop.ask("book", "POST", "bookings", "/bookings", body=body, headers=headers)
        self.heard("book", answer)
        if answer.kind in ("200", "201"):
            first = self.booked.setdefault(held.id, answer.body["id"])
            if first != answer.body["id"]:
                self.wrong.append(f"one hold, two bookings: {first} and {answer.body['id']}")

    async def _cancel(self, step: Step, held: Held, row: BookingRow) -> None:
        answer = await self._change("cancel booking", step, held, row, {"reason": "simulated"})
        if answer.kind != "200" or row.status == "cancelled" or not self.is_alone():
            return
        back = answer.body.get("returned_credits", 0)
        if back != row.credits * row.percent // ALL:
            self.wrong.append(f"a cancelled booking gives its share back: {back} of {row.credits} credits")
        refund = answer.body.get("refund", {}).get("amount", 0)
        if refund > row.amount * row.percent // ALL:
            self.wrong.append(f"a cancelled booking gives its share back: {refund} of {row.amount}")

    async def _move(self, step: Step, held: Held, row: BookingRow) -> None:
        slot = self.slots[int(step["slot"])]
        body: dict[str, Any] = {"slot_id": slot}
        if step["item"] is not None:
            body["item_id"] = row.items[step["item"] % len(row.items)]
        answer = await self._change("reschedule", step, held, row, body)
        if answer.kind == "200" and self.is_alone():
            if row.status == "cancelled":
                self.wrong.append(f"what has ended is not changed: {row.id} was moved")
            if answer.body["version"] != row.version and slot in await self.records.legacy([slot]):
                self.wrong.append(f"legacy slots are not sold: {row.id} was moved to {slot}")
            if (after := await self.records.booking_of(held.id)) and after.percent > row.percent:
                self.wrong.append(f"a move does not raise the share: {row.percent} % to {after.percent} %")

    async def _change(
        self, call: str, step: Step, held: Held, row: BookingRow, body: Mapping[str, Any]
    ) -> Answer:
        """A change of the version that the step says; no version is changed twice, and no other than the present one."""
        sent = {"right": row.version, "old": row.version - 1, "none": None}[step["version"]]
        headers = self._headers(step["who"], held, row)
        if sent is not None:
            headers["If-Match"] = f'"{sent}"'
        path = f"/bookings/{row.id}/{'cancel' if call == 'cancel booking' else call}"
        answer = await self.shop.ask(call, "POST", "bookings", path, body=body, headers=headers)
        self.heard(call, answer)
        if answer.kind == "412 version-conflict" and answer.body.get("version") == sent:
            self.wrong.append(f"a version is changed once: {row.id} is of version {sent}, and refused it")
        if answer.kind != "200":
            return answer
        if sent is None or (self.is_alone() and sent != row.version):
            self.wrong.append(f"a version is changed once: {row.id} was {row.version}, and took {sent}")
        elif answer.body["version"] != sent:
            if (row.id, sent) in self.changed:
                self.wrong.append(f"a version is changed once: {row.id} took {sent} twice")
            self.changed.add((row.id, sent))
        if self.is_alone() and row.status in NOT_CHANGED:
            self.wrong.append(f"what has ended is not changed: {row.id} was {row.status}")
        return answer

    async def _refund(self, step: Step, held: Held, row: BookingRow) -> None:
        body: dict[str, Any] = {"reason": "simulated"}
        if step["part"] is not None:
            body["amount"] = max(1, int(row.amount * step["part"]))
        headers, key = self._signed_in("admin", "admin"), f"run-{self.run:08}-refund-{step['key']}"
        if step["key"]:
            headers["Idempotency-Key"] = key
        path = f"/bookings/{row.id}/refunds"
        answer = await self.shop.ask("refund", "POST", "bookings", path, body=body, headers=headers)
        self.heard("refund", answer)
        if answer.kind == "202" and step["key"]:
            first = self.refunds.setdefault(f"{held.id} {key}", answer.body["id"])
            if first != answer.body["id"]:
                self.wrong.append(f"one key is one refund: {first} and {answer.body['id']}")

    # Administrators.

    async def _grant(self, step: Step) -> None:
        self._calls += 1
        reason = f"grant {step['grant']}" if step["key"] else f"grant {step['grant']}, call {self._calls}"
        self.granted[reason] = step["delta"]
        body = {"delta": step["delta"], "reason": reason}
        if step.get("expires"):
            body["expires_at"] = NEVER
        headers = self._signed_in("admin", "admin")
        if step["key"]:
            headers["Idempotency-Key"] = f"run-{self.run:08}-grant-{step['grant']}"
        path = f"/customers/user-{step['user']}/credits"
        self.heard(
            "credits", await self.shop.ask("credits", "POST", "admin", path, body=body, headers=headers)
        )

    async def _change_schedule(self, step: Step) -> None:
        """The day's times; a second call with the same changes nothing more."""
        day = self.records.database.day
        rules = [
            {"weekday": day.weekday(), "start": f"{FIRST_HOUR + number:02}:00", "minutes": MINUTES}
            | {"max_bookings": bookings, "max_units": units}
            for number, (bookings, units) in zip(step["times"], step["room"], strict=True)
        ]
        body = {"timezone": "UTC", "rules": rules, "from": day.isoformat(), "until": day.isoformat()}
        is_done = await self._put_schedule(body, len(rules))
        if is_done and step["twice"]:
            await self._put_schedule(body, len(rules), again=True)
        times = await self.records.times_of_the_day()
        for slot in times:
            if not slot.is_legacy and (number := slot.hour - FIRST_HOUR) in range(TOGETHER):
                self.slots[number] = slot.id
        if not is_done or not self.is_alone():
            return
        said = dict(zip(step["times"], step["room"], strict=True))
        made = {slot.hour - FIRST_HOUR: slot for slot in times if not slot.is_legacy}
        if sorted(made) != sorted(said):
            self.wrong.append(
                f"the schedule makes what its rules say: {sorted(made)} instead of {sorted(said)}"
            )
            return
        for number, slot in made.items():
            room = [max(wanted, used) for wanted, used in zip(said[number], slot.used, strict=True)]
            if list(slot.room) != room:
                self.wrong.append(f"the schedule makes what its rules say: {slot.room} instead of {room}")

    async def _put_schedule(self, body: Mapping[str, Any], times: int, *, again: bool = False) -> bool:
        headers = self._signed_in("admin", "admin")
        path = f"/offerings/{self.records.scheduled}/schedule"
        answer = await self.shop.ask("schedule", "PUT", "admin", path, body=body, headers=headers)
        self.heard("schedule", answer)
        if answer.kind != "200":
            return False
        told = answer.body
        if told["created"] + told["kept"] + told["blocked"] != times:
            self.wrong.append(f"the schedule makes what its rules say: {told} of {times} times")
        if again and self.is_alone() and told["created"] + told["deleted"]:
            self.wrong.append(f"the same schedule changes nothing: {told}")
        return True

    async def _change_capacity(self, step: Step) -> None:
        bookings, units = step["room"]
        body = {"max_bookings": bookings, "max_units": units}
        headers, path = self._signed_in("admin", "admin"), f"/slots/{self.slots[step['slot']]}"
        answer = await self.shop.ask("capacity", "PUT", "admin", path, body=body, headers=headers)
        self.heard("capacity", answer)

    async def _change_price(self, step: Step) -> None:
        slug, version = self.records.scheduled, await self.records.offering_version()
        sent = {"right": version, "old": version - 1, "none": None}[step["version"]]
        headers = self._signed_in("admin", "admin")
        if sent is not None:
            headers["If-Match"] = f'"{sent}"'
        body = {"name": slug, "kind": "class", "unit_amount": step["amount"], "currency": "eur"}
        body |= {"credits_price": step["credits"], "timezone": "UTC", "add_ons": []}
        body |= {"pay_on_arrival": step["on_arrival"]}
        answer = await self.shop.ask(
            "offering", "PUT", "admin", f"/offerings/{slug}", body=body, headers=headers
        )
        self.heard("offering", answer)
        if answer.kind == "200" and self.is_alone() and sent != version:
            self.wrong.append(f"a version is changed once: {slug} was {version}, and took {sent}")

    # Who calls.

    def _headers(self, who: str, held: Held, row: BookingRow) -> dict[str, str]:
        """Of somebody who may see the booking; whose owner was not signed in has the hold's token."""
        if who == "admin":
            return self._signed_in("admin", "admin")
        if who == "owner" and row.user_id:
            return self._signed_in(row.user_id)
        return {"X-Reservation-Token": held.token}

    def _signed_in(self, user_id: str, role: str = "customer") -> dict[str, str]:
        return signed_in(self.jwt_secret, user_id, role)


def signed_in(secret: str, user_id: str, role: str) -> dict[str, str]:
    """The header of somebody who is signed in, by a token that no clock finds too old or too young."""
    claims = {"sub": user_id, "role": role, "exp": int(time.time()) + LIFE_S}
    return {"Authorization": f"Bearer {jwt.encode(claims, secret, algorithm='HS256')}"}
