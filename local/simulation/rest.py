"""After a run: everything comes to its end, as time alone would have it; then everything is checked from outside."""

import asyncio
import time

from local.promises import broken, check_promises
from local.simulation.queue_side import messages_left
from local.simulation.world import World

ROUNDS = 40  # a refund that fails for good is tried twelve times
# One whose function died is seen again after the queue's 300 s.
MESSAGES_PATIENCE_S = 330.0
LOOKS_FOR_MESSAGES_AGAIN_S = 0.5
JOBS = ("reservation-cleanup", "reconcile-payments", "deliver-outbox")
JOB_PATIENCE_S = 30.0
LOOKS_AGAIN_S = 0.05


class NeverRests(Exception):
    """Something is still to be done, however often it was done again."""


async def come_to_rest(world: World) -> None:
    """Until nothing is on its way: faults off, what is pending ended, leases over, events brought, jobs run."""
    await world.be_well()
    ends_well, left, rounds = True, dict[str, int](), ROUNDS
    give_up_at = time.monotonic() + MESSAGES_PATIENCE_S
    while rounds and time.monotonic() < give_up_at:
        await world.stripe.end_what_is_pending(well=ends_well)
        ends_well = not ends_well
        await world.stripe.look_for_events()
        for event in list(world.stripe.waiting):
            await world.stripe.bring(event)
        await world.database.let_leases_end()
        await world.database.expire_all()
        for job in JOBS:
            await _run(world, job)
        await world.stripe.look_for_events()
        left = await world.database.left_to_do() | {
            "events to bring": len(world.stripe.waiting),
        }
        messages = await messages_left(world.shop.http, world.queue_url)
        if any(left.values()):
            rounds -= 1
        elif messages:
            await asyncio.sleep(LOOKS_FOR_MESSAGES_AGAIN_S)
        else:
            return
        left["messages"] = messages
    raise NeverRests(", ".join(f"{count} {what}" for what, count in left.items() if count))


async def _run(world: World, job: str) -> None:
    give_up_at = time.monotonic() + JOB_PATIENCE_S
    while True:
        failed, answer = await world.invoke(job)
        if not failed:
            return
        if time.monotonic() > give_up_at:
            raise NeverRests(f"{job}: {answer}")
        await asyncio.sleep(LOOKS_AGAIN_S)


async def broken_now(world: World, *, asks_stripe: bool) -> list[str]:
    """What is wrong at this moment, whatever is still on its way."""
    otherwise = await world.bookings.records.booked_otherwise() if asks_stripe else set[str]()
    live = await world.stripe.live_intents() if asks_stripe else dict[str, int]()
    several = [
        f"several payments of one reservation could be made: {reservation} has {count}"
        for reservation, count in live.items()
        if count > 1
    ]
    several += [
        f"what is booked by other means cannot be paid: {reservation}"
        for reservation in otherwise & set(live)
    ]
    return [
        *world.wrong,
        *several,
        *await world.database.violations(world.forced),
        *await world.bookings.violations(),
    ]


async def broken_at_rest(world: World) -> list[str]:
    """What is wrong once all has come to rest."""
    try:
        await come_to_rest(world)
    except NeverRests as failure:
        return [f"it never comes to rest: {failure}", *world.wrong]
    stripe = world.stripe
    promises = await asyncio.to_thread(
        check_promises, world.database.database_admin_url, stripe.api_base, stripe.secret_key
    )
    return [
        *world.wrong,
        *await world.bookings.violations(),
        *(f"{each.name}: {each.database_says} {each.stripe_says}" for each in broken(promises)),
    ]
