"""Whether every promise holds, judged from outside: what the database says against what Stripe says.

Meant for a moment at which nothing is on its way: the buyers are served, the webhooks delivered, the outbox empty.
"""

from collections import Counter
from collections.abc import Iterable

from local.booking_promises import (
    cancelled_by_policy,
    closed_slots_sell_no_more,
    credits_spent_once,
    seats_given_back,
    uncharged_where_unpaid,
)
from local.records import Records, read_records
from local.verdicts import (
    GONE,
    OPEN_DISPUTES,
    RESERVATION_ID,
    Promise,
    contested_intents,
    going_back,
    told_with,
)

# What stripe_gateway writes into the metadata of a refund. Written out here and not imported: who judges takes nothing from
# the judged.
REFUND_ID = "holdfast_refund_id"

# Why we give money back that has no booking. A booking's may go back because a person wants it to.
NEVER_SEATED = ("paid-late-", "reservation-cancelled", "booked-otherwise", "paid-twice", "slot-begun")
SETTLED = ("processed", "ignored", "stale", "parked", "quarantined", "dead")
# Of these intents nothing can come in any more, or it is on its way by itself.
OVER = ("succeeded", "canceled", "processing")


def check_promises(database_admin_url: str, stripe_api_base: str, stripe_secret_key: str) -> list[Promise]:
    """Every promise with its evidence; `database_admin_url` is the owner's."""
    records = read_records(database_admin_url, stripe_api_base, stripe_secret_key)
    return [
        _never_sold_twice(records),
        _never_charged_for_nothing(records),
        _never_charged_twice(records),
        _never_booked_unpaid(records),
        _one_live_payment(records),
        _refunds_fit(records),
        uncharged_where_unpaid(records),
        credits_spent_once(records),
        cancelled_by_policy(records),
        _disputes_decide(records),
        _seats_go_after_their_payment(records),
        _no_dead_holds(records),
        seats_given_back(records),
        closed_slots_sell_no_more(records),
        _never_lost(records),
        _invariants(records),
    ]


def broken(promises: Iterable[Promise]) -> list[Promise]:
    """Those that did not hold."""
    return [promise for promise in promises if not promise.held]


def _never_sold_twice(records: Records) -> Promise:
    """Counted from holds and bookings themselves, not from the counters that guard them."""
    oversold = [
        f"{slot['id']}: {slot['units']} of {slot['max_units']} units, {slot['parties']} of {slot['max_bookings']} bookings"
        for slot in records.slots
        if slot["units"] > slot["max_units"] or slot["parties"] > slot["max_bookings"]
    ]
    sold = sum(slot["units"] for slot in records.slots)
    busy = sum(1 for slot in records.slots if slot["units"])
    room = sum(slot["max_units"] for slot in records.slots if slot["units"])
    return Promise(
        "no seat is sold twice",
        f"{sold} seats",
        told_with(f"{sold} of {room} seats of {busy} slots are taken", oversold),
        "",
        not oversold,
    )


def _never_charged_for_nothing(records: Records) -> Promise:
    bookings = {booking["payment_intent_id"]: booking["status"] for booking in records.bookings}
    unseated = {
        refund["payment_intent_id"]
        for refund in records.refunds
        if refund["status"] not in GONE and refund["reason"].startswith(NEVER_SEATED)
    }
    back, contested = going_back(records), contested_intents(records)
    paid = [intent for intent in records.intents.values() if intent["status"] == "succeeded"]
    wrong: list[str] = []
    for intent in paid:
        booking, returned = bookings.get(intent["id"]), back[intent["id"]]
        if booking in ("confirmed", "frozen", "cancelled"):
            right = intent["id"] not in unseated
        else:
            right = returned >= intent["amount_received"] or intent["id"] in contested
        if not right:
            wrong.append(f"{intent['id']}: {booking}, {returned} of {intent['amount_received']} goes back")
    booked = sum(1 for intent in paid if intent["id"] in bookings)
    return Promise(
        "all money ends in one booking, a refund or a dispute",
        f"{len(paid)} payments",
        told_with(f"{booked} are bookings, {len(paid) - booked} go back", wrong),
        f"{len(paid)} intents succeeded, {len(contested)} are disputed",
        not wrong,
    )


def _never_charged_twice(records: Records) -> Promise:
    back, contested = going_back(records), contested_intents(records)
    kept = Counter(
        intent["metadata"].get(RESERVATION_ID)
        for intent in records.intents.values()
        if intent["status"] == "succeeded"
        and back[intent["id"]] < intent["amount_received"]
        and intent["id"] not in contested
    )
    twice = [f"{reservation}: {times} times" for reservation, times in kept.items() if times > 1]
    return Promise(
        "no reservation is paid twice",
        f"{len(kept)} reservations",
        "",
        told_with(f"{len(kept)} reservations have money kept for them", twice),
        not twice,
    )


def _never_booked_unpaid(records: Records) -> Promise:
    paid = [booking for booking in records.bookings if booking["payment_method"] == "pay_now"]
    unpaid = [
        f"{booking['id']}: {intent['amount_received'] if intent else 'no such intent'} for {booking['amount']}"
        for booking in paid
        if (intent := records.intents.get(booking["payment_intent_id"])) is None
        or (intent["amount_received"], intent["currency"]) != (booking["amount"], booking["currency"])
    ]
    return Promise(
        "every paid booking has its money",
        f"{len(paid)} bookings",
        f"{sum(booking['amount'] for booking in paid)} minor units are booked as paid",
        told_with("each has an intent of its amount and currency", unpaid),
        not unpaid,
    )


def _one_live_payment(records: Records) -> Promise:
    closed = _of_closed_pages(records)
    live = Counter(
        intent["metadata"].get(RESERVATION_ID)
        for intent in records.intents.values()
        if intent["status"] not in ("succeeded", "canceled") and intent["id"] not in closed
    )
    several = [f"{reservation}: {times}" for reservation, times in live.items() if times > 1]
    known = {payment["payment_intent_id"] for payment in records.payments}
    unknown = [
        f"{intent['id']} ({intent['status']})" for intent in records.intents.values()
        if intent["id"] not in known and intent["status"] != "canceled"
    ]  # fmt: skip
    return Promise(
        "a reservation has one payment at a time",
        f"{len(records.intents)} intents",
        told_with(f"{len(records.payments)} payments are recorded", unknown),
        told_with(f"{sum(live.values())} intents are open", several),
        not several and not unknown,
    )


def _refunds_fit(records: Records) -> Promise:
    """Each of Stripe's refunds, by whomever it was made, is one row of ours; none is there twice, or too much."""
    rows = {refund["stripe_refund_id"]: refund for refund in records.refunds}
    sent = [
        refund
        for refund in records.stripe_refunds
        if refund["status"] not in GONE and refund["payment_intent"] in records.intents
    ]
    wrong: list[str] = []
    returned: Counter[str] = Counter()
    times: Counter[tuple[str, int]] = Counter()
    for refund in sent:
        returned[refund["payment_intent"]] += refund["amount"]
        if our_id := refund["metadata"].get(REFUND_ID):
            times[our_id, refund["amount"]] += 1
        if refund["id"] not in rows or rows[refund["id"]]["amount"] != refund["amount"]:
            wrong.append(f"{refund['id']}: no such refund here")
    wrong += [f"{our_id}: sent {count} times" for (our_id, _), count in times.items() if count > 1]
    wrong += [
        f"{intent_id}: {amount} goes back"
        for intent_id, amount in returned.items()
        if amount > records.intents[intent_id]["amount_received"]
    ]
    at_stripe = {refund["id"] for refund in sent}
    wrong += [
        f"{refund['id']}: not at stripe"
        for refund in records.refunds
        if refund["status"] == "succeeded" and refund["stripe_refund_id"] not in at_stripe
    ]
    due = [refund for refund in records.refunds if refund["status"] not in GONE]
    return Promise(
        "a refund is sent once and never exceeds what was paid",
        f"{len(due)} refunds",
        f"{sum(refund['amount'] for refund in due)} minor units go back",
        told_with(f"{sum(returned.values())} minor units in {len(sent)} refunds", wrong),
        not wrong,
    )


def _disputes_decide(records: Records) -> Promise:
    """A booking is frozen exactly while its bank disputes the payment, and has no seats once the bank has won.

    While the bank has the money, or for good, none of it is asked for again as a refund.
    """
    said: dict[str, set[str]] = {}
    for dispute in records.disputes:
        said.setdefault(dispute["payment_intent"], set()).add(dispute["status"])
    wrong: list[str] = []
    for booking in records.bookings:
        words = said.get(booking["payment_intent_id"] or "", set())
        is_open = bool(words & set(OPEN_DISPUTES))
        if booking["status"] in ("confirmed", "frozen") and (
            "lost" in words or (booking["status"] == "frozen") != is_open
        ):
            wrong.append(f"{booking['id']}: {booking['status']}, {sorted(words)}")
    contested = {intent for intent, words in said.items() if words & {*OPEN_DISPUTES, "lost"}}
    wrong += [
        f"{refund['id']}: {refund['status']}, {sorted(said[refund['payment_intent_id']])}"
        for refund in records.refunds
        if refund["payment_intent_id"] in contested
        and refund["stripe_refund_id"] is None
        and refund["status"] not in GONE
    ]
    frozen = sum(1 for booking in records.bookings if booking["status"] == "frozen")
    return Promise(
        "a dispute freezes its booking, a lost one revokes it",
        f"{len(records.disputes)} disputes",
        told_with(f"{frozen} bookings are frozen", wrong),
        f"{sum(1 for dispute in records.disputes if dispute['status'] in OPEN_DISPUTES)} are open",
        not wrong,
    )


def _seats_go_after_their_payment(records: Records) -> Promise:
    """A payment that a buyer could still complete belongs to a hold that still has its seats."""
    closed = _of_closed_pages(records)
    open_payments = [
        *(
            (intent["id"], intent)
            for intent in records.intents.values()
            if intent["status"] not in OVER and intent["id"] not in closed
        ),
        *((session["id"], session) for session in records.sessions if session["status"] == "open"),
    ]
    dangling: list[str] = []
    for stripe_id, made in open_payments:
        hold = records.holds.get(made["metadata"].get(RESERVATION_ID, ""))
        if hold is None or hold["status"] != "active":
            dangling.append(
                f"{stripe_id} ({made['status']}): {hold['status'] if hold else 'no such reservation'}"
            )
    ended = Counter(hold["status"] for hold in records.holds.values())
    return Promise(
        "seats go only after their payment is closed",
        f"{ended['expired'] + ended['cancelled']} holds ended unpaid",
        f"{ended['expired']} expired, {ended['cancelled']} cancelled",
        told_with(f"{len(open_payments)} payments can still be made", dangling),
        not dangling,
    )


def _no_dead_holds(records: Records) -> Promise:
    """A hold that is over keeps its seats only while its money is on the way."""
    awaited = {
        intent["metadata"].get(RESERVATION_ID)
        for intent in records.intents.values()
        if intent["status"] == "processing"
    } | {
        session["metadata"].get(RESERVATION_ID)
        for session in records.sessions
        if (session["status"], session["payment_status"]) == ("complete", "unpaid")
    }
    active = [hold for hold in records.holds.values() if hold["status"] == "active"]
    dead = [f"{hold['id']}" for hold in active if hold["is_over"] and str(hold["id"]) not in awaited]
    return Promise(
        "no dead hold keeps seats",
        f"{len(records.holds)} holds",
        told_with(f"{len(active)} are active", dead),
        f"{len(awaited)} wait for money on its way",
        not dead,
    )


def _never_lost(records: Records) -> Promise:
    """Every event has come to an end, or waits where it is seen and done again."""
    waiting = [
        f"{event['event_id']} {event['status']}: {event['reason']}"
        for event in records.events
        if event["status"] not in SETTLED
    ]
    ends = Counter(event["status"] for event in records.events)
    told = ", ".join(f"{count} {status}" for status, count in ends.most_common())
    late = [f"{records.overdue_effects} effects are overdue"] if records.overdue_effects else []
    return Promise(
        "no event is lost",
        f"{len(records.events)} events",
        told_with(told, [*waiting, *late]),
        "",
        not waiting and not late,
    )


def _invariants(records: Records) -> Promise:
    rows = [f"{row['invariant']}: {row['subject_id']} {row['detail']}" for row in records.violations]
    return Promise(
        "the invariants hold",
        f"{len(rows)} violations",
        told_with("invariant_violations", rows),
        "",
        not rows,
    )


def _of_closed_pages(records: Records) -> set[str]:
    """The intents of pages that are submitted or expired: whatever their status, no buyer can come back to them."""
    return {session["payment_intent"] for session in records.sessions if session["status"] != "open"}
