"""What held in the studio, as its members saw it and as they reckon, against what the database and Stripe say."""

import asyncio
from collections import Counter

from local.sale.evidence import Finding
from local.sale.ledger import Ledger
from local.sale.members import WHOLE, Member, Way
from local.sale.sale import Sale
from local.sale.studio import starts_at
from local.verdicts import told_with

# What a dispute makes of a booking.
STANDS = {"": "confirmed", "won": "confirmed", "lost": "revoked", "open": "frozen"}


async def studio_findings(sale: Sale, ledger: Ledger) -> list[Finding]:
    """Every member looks once more, at a moment when nothing is on its way."""
    told = {id(member): dict(member.booking) for member in sale.members}
    await asyncio.gather(*(member.find_booking() for member in sale.members if member.reservation))
    shown = set(await sale.studio.shown())
    balances = {user_id: await sale.studio.balance(user_id) for user_id in sorted(sale.studio.granted)}
    return [
        _as_their_page_says(sale, {member: told[id(member)] for member in sale.members}),
        _money_by_their_own_sums(sale, ledger),
        _credits_by_their_own_sums(sale, balances),
        _who_is_booked_stays(sale, ledger, shown),
    ]


def _as_their_page_says(sale: Sale, told: dict[Member, dict[str, object]]) -> Finding:
    """What a member was told of his booking, his moves and his cancellation is what it is."""
    wrong: list[str] = []
    ends: Counter[str] = Counter()
    for member, before in told.items():
        booking = member.booking
        if before and before["id"] != booking.get("id"):
            wrong.append(f"{member.email} was told of {before['id']}, and has {booking.get('id')}")
        if not before:
            continue
        ends[booking["status"]] += 1
        expected = (
            "cancelled" if member.was_told_cancelled else STANDS[member.verdict],
            member.slot_id,
            before["payment_method"],
        )
        items = booking["items"]
        found = (booking["status"], items[0]["slot_id"], booking["payment_method"])
        if found != expected or len(items) != 1 or items[0]["units"] != member.visit.places:
            wrong.append(f"{member.email} expects {expected}, and has {found}")
    return Finding(
        "a booking is what its member was told, wherever it has moved",
        f"{ends.total()} bookings, {sum(member.moves for member in sale.members)} moves",
        "",
        "",
        told_with(", ".join(f"{count} {status}" for status, count in ends.most_common()), wrong),
        not wrong,
    )


def _money_by_their_own_sums(sale: Sale, ledger: Ledger) -> Finding:
    """Who cancels has back what the page said; who stays has paid the price; nobody else has paid anything."""
    wrong: list[str] = []
    opened = [member for member in sale.members if member.intent_id]
    for member in opened:
        due = 0
        if member.booking.get("payment_method") == Way.CARD:
            due = member.price - member.given_back
            if member.booking["status"] == "cancelled":
                due = max(due - member.price * member.given_up_for // WHOLE, 0)
        kept = ledger.received.get(member.intent_id, 0) - ledger.sent_back.get(member.intent_id, 0)
        if kept != due:
            wrong.append(f"{member.email}: {kept} of {member.price} kept, and not {due}")
    gone = [
        member
        for member in opened
        if member.was_told_cancelled and member.booking["payment_method"] == Way.CARD
    ]
    shares = Counter(member.given_up_for for member in gone)
    return Finding(
        "who cancels gets back what the page had said",
        f"{len(gone)} paid and cancelled",
        "",
        f"{sum(ledger.sent_back.get(member.intent_id, 0) for member in opened)} cents sent back to members",
        told_with(", ".join(f"{count} with {share} %" for share, count in sorted(shares.items())), wrong),
        not wrong,
    )


def _credits_by_their_own_sums(sale: Sale, balances: dict[str, int]) -> Finding:
    """What a member was granted, less what his bookings cost, and what cancelling has given back."""
    left = Counter(sale.studio.granted)
    spenders = [member for member in sale.members if member.booking.get("payment_method") == Way.CREDITS]
    for member in spenders:
        left[member.user_id] -= member.credit
        if member.booking["status"] == "cancelled":
            left[member.user_id] += member.credit * member.given_up_for // WHOLE
    wrong = [
        f"{user}: {balance}, and not {left[user]}"
        for user, balance in balances.items()
        if balance != left[user]
    ]
    spent = sum(member.credit for member in spenders)
    return Finding(
        "no member's credits are spent twice, or lost",
        f"{len(balances)} members",
        f"{sum(balances.values())} credits are left",
        "",
        told_with(f"{sum(sale.studio.granted.values())} granted, {spent} spent, by their own sums", wrong),
        not wrong,
    )


def _who_is_booked_stays(sale: Sale, ledger: Ledger, shown: set[str]) -> Finding:
    """A class that its schedule has left takes place for who is booked, at its time; the page shows it to nobody."""
    inside = [
        member
        for member in sale.members
        if member.slot_id in ledger.closed_slots and member.booking.get("status") in ("confirmed", "frozen")
    ]
    wrong = [f"{slot} is shown" for slot in sorted(ledger.closed_slots & shown)]
    wrong += [
        f"{member.email}: {member.booking['items'][0]['starts_at']}"
        for member in inside
        if starts_at(member.booking["items"][0]["starts_at"]) != sale.studio.starts[member.slot_id]
    ]
    return Finding(
        "a schedule that changes keeps who is booked",
        f"{len(ledger.closed_slots)} classes left, {len(shown)} shown",
        told_with(f"{len(ledger.closed_slots)} slots are of an older schedule", wrong),
        "",
        f"{len(inside)} members keep their class and its time",
        not wrong,
    )
