"""What happens to a shop that nobody can help: its database is away, Stripe's word is lost, a bank takes money back."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from local.breakage.proxy import DatabaseProxy
from local.sale.members import Member, Visit, Way
from local.sale.sale import Sale

DURING_OUTAGE, UNTOLD = 3, 2
PATIENCE_S = 30.0
LOOKS_AGAIN_S = 0.2
WAVES = 8
VERDICTS = ("won", "lost", "")  # the last one is not decided yet


@dataclass
class Mishaps:
    """Each on members who pay by card; `network` is what the functions reach their database through."""

    sale: Sale
    network: DatabaseProxy

    async def play(self) -> None:
        """All of them, one after the other."""
        await self._the_database_is_away(await self._with_card_forms(DURING_OUTAGE))
        await self._stripe_is_not_heard(await self._with_card_forms(UNTOLD))
        await self._banks_take_it_back()

    async def _with_card_forms(self, count: int) -> list[Member]:
        """New members, who hold a place in some class that is on sale and have their card form open."""
        sale = self.sale
        classes = (await sale.studio.on_sale())[-count:]
        new = [
            Member(Visit(len(sale.members) + number, Way.CARD), sale.crowd, sale.studio)
            for number in range(count)
        ]
        sale.members.extend(new)
        held = await asyncio.gather(
            *(member.hold(slot_id) for member, slot_id in zip(new, classes, strict=True))
        )
        if refused := [answer.text for answer in held if answer.kind != "201"]:
            raise RuntimeError(f"a class that is on sale cannot be held: {refused}")
        await asyncio.gather(*(member.open_payment() for member in new))
        return new

    async def _the_database_is_away(self, members: Sequence[Member]) -> None:
        sale = self.sale
        title = (
            f"The database cannot be reached. {len(members)} pay: stripe-webhook puts Stripe's events into the queue, answers"
            " 200, and webhook-inbox applies them when the database is back."
        )
        told = {"taken": 0, "known": 0}

        def so_far() -> str:
            return (
                f"{told['taken']} events answered 200, {told['known']} of them known to the database;"
                f" {_booked(members)} of {len(members)} booked"
            )

        async with sale.programme.scene(title, so_far):
            await self._until_all_is_delivered()
            before = await self._answered()
            await self.network.close()
            await asyncio.gather(*(member.try_card() for member in members))
            await self._until_all_is_delivered()
            taken = await self._answered() - before
            told |= {"taken": len(taken), "known": await sale.operator.known_events(taken)}
            await self.network.open()
            await asyncio.gather(*(member.wait_for_booking(PATIENCE_S) for member in members))
        sale.counts["events queued while the database was away"] = told["taken"] - told["known"]
        sale.counts["booked out of the queue"] = _booked(members)

    async def _stripe_is_not_heard(self, members: Sequence[Member]) -> None:
        sale = self.sale
        title = f"{len(members)} pay, and Stripe's events are lost for good. reconcile-payments reads them from Stripe's list."
        async with sale.programme.scene(title, lambda: f"{_booked(members)} of {len(members)} booked"):
            await sale.weather.put({"drop": 1.0})
            await asyncio.gather(*(member.try_card() for member in members))
            await sale.weather.put({})
            before = _booked(members)
            for _ in range(WAVES):
                await sale.operator.let_reconciliation_be_due()
                await sale.invoke("reconcile-payments")
                if all([await member.find_booking() for member in members]):
                    break
        sale.counts["brought back by reconciliation"] = _booked(members) - before

    async def _banks_take_it_back(self) -> None:
        """Of those who have just paid: one dispute is won, one lost, one goes on."""
        sale = self.sale
        members = [member for member in sale.members if member.charged and member.is_booked][-len(VERDICTS) :]
        seen: list[str] = []
        title = (
            f"{len(members)} banks dispute a payment: the bookings are frozen, and cannot be cancelled. One dispute is won,"
            " one lost (its place is for sale again), one goes on."
        )
        async with sale.programme.scene(title, lambda: ", ".join(seen)):
            opened = await asyncio.gather(
                *(
                    sale.crowd.browser.act("/disputes", {"payment_intent": member.intent_id})
                    for member in members
                )
            )
            await asyncio.gather(*(self._becomes(member, "frozen") for member in members))
            seen += [f"{await member.cancel()} to who cancels" for member in members]
            for member, dispute, verdict in zip(members, opened, VERDICTS, strict=True):
                member.verdict = verdict or "open"
                if verdict:
                    await sale.crowd.browser.act(f"/disputes/{dispute['id']}", {"outcome": verdict})
                    await self._becomes(member, {"won": "confirmed", "lost": "revoked"}[verdict])
                seen.append(f"{member.verdict}: {member.booking['status']}")
        sale.counts["bookings disputed"] = sum(entry.startswith("409 disputed") for entry in seen)

    async def _becomes(self, member: Member, status: str) -> None:
        give_up_at = time.monotonic() + PATIENCE_S
        while (await member.look())["status"] != status and time.monotonic() < give_up_at:  # noqa: ASYNC110 - it is asked
            await asyncio.sleep(LOOKS_AGAIN_S)

    async def _until_all_is_delivered(self) -> None:
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            if not any(event["pending"] for event in await self.sale.weather.deliveries()):
                return
            await asyncio.sleep(LOOKS_AGAIN_S)

    async def _answered(self) -> set[str]:
        """The events that Stripe brought and was answered 200 for."""
        events = await self.sale.weather.deliveries()
        return {event["event_id"] for event in events if event["last_status"] == 200}


def _booked(members: Sequence[Member]) -> int:
    return sum(member.is_booked for member in members)
