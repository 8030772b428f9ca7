"""What held: the promises as the database and Stripe tell them, and as the buyers saw it themselves."""

import asyncio
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.promises import NEVER_SEATED, check_promises
from local.sale.buyers import Buyer
from local.sale.ledger import Ledger
from local.sale.sale import Sale
from local.verdicts import told_with

# Told once for each; of the other kinds no subject is told of twice.
TOLD = ("booked", "cancelled", "rescheduled")


@dataclass(frozen=True)
class Finding:
    """A promise, how often it was put to the test, what each witness says, and whether it held."""

    promise: str
    figure: str
    database: str
    stripe: str
    buyers: str
    held: bool


async def findings(sale: Sale, stack: Mapping[str, Any], ledger: Ledger, *, killed: int) -> list[Finding]:
    """Every promise with its evidence, at a moment when nothing is on its way.

    `killed`: execution environments that were killed while the cloud lived; so many answers may be missing.
    """
    stripe = stack["stripe"]
    common = await asyncio.to_thread(
        check_promises, stack["database_admin_url"], stripe["api_base"], stripe["secret_key"]
    )
    return [
        *(
            Finding(each.name, each.figure, each.database_says, each.stripe_says, "", each.held)
            for each in common
        ),
        _told_is_so(sale, ledger),
        _paid_is_seated_or_refunded(sale, ledger),
        _price_shown_is_charged(sale, ledger),
        _double_clicks(sale, ledger),
        _events_heard_once(ledger),
        _told_once(ledger),
        _effects_have_ended(ledger),
        _answers_are_named(sale, killed),
    ]


def _charged(sale: Sale) -> list[Buyer]:
    return [buyer for buyer in sale.buyers if buyer.charged]


def _told_is_so(sale: Sale, ledger: Ledger) -> Finding:
    """What was answered to a buyer was committed before: his hold, his payment, his cancellation, his booking."""
    wrong: list[str] = []
    counts: Counter[str] = Counter()
    bookings = {booking for booking, _ in ledger.bookings.values()}
    for buyer in sale.buyers:
        claims: list[tuple[str, bool]] = []
        if buyer.reservation:
            claims.append(("hold", buyer.reservation_id in ledger.holds))
        if buyer.payment:
            ours, stripes = buyer.payment["payment_id"], buyer.payment_at_stripe
            claims.append(("payment", stripes in ledger.payments.get(ours, ())))
        if buyer.was_told_cancelled:
            claims.append(("cancellation", ledger.holds.get(buyer.reservation_id) == "cancelled"))
        if buyer.booking_id:
            claims.append(("booking", buyer.booking_id in bookings))
        counts.update(what for what, _ in claims)
        wrong += [
            f"{buyer.email} was told of a {what} that is not there" for what, is_so in claims if not is_so
        ]
    told = ", ".join(f"{count} {what}s" for what, count in counts.most_common())
    return Finding(
        "what a buyer is told is so",
        f"{counts.total()} answers",
        f"{len(ledger.holds)} holds, {len(ledger.payments)} payments, {len(bookings)} bookings",
        "",
        told_with(told, wrong),
        not wrong,
    )


def _paid_is_seated_or_refunded(sale: Sale, ledger: Ledger) -> Finding:
    """Each buyer whose browser said "paid" is asked to look at his hold; Stripe is asked what it has kept of his money."""
    seated = refunded = 0
    wrong: list[str] = []
    for buyer in _charged(sale):
        booking = ledger.looks[buyer.email].get("booking_id")
        kept = ledger.kept.get(buyer.reservation_id, 0)
        seated += booking is not None
        refunded += booking is None
        if kept != (0 if booking is None else buyer.price):
            wrong.append(f"{buyer.email} paid {buyer.price}: booking {booking}, {kept} kept")
    return Finding(
        "who has paid is seated or has the money back",
        f"{len(_charged(sale))} buyers",
        f"{len(ledger.bookings)} bookings",
        f"{sum(ledger.received.values())} cents received, {sum(ledger.sent_back.values())} sent back",
        told_with(f"{seated} see their booking, {refunded} are refunded in full", wrong),
        not wrong,
    )


def _price_shown_is_charged(sale: Sale, ledger: Ledger) -> Finding:
    """What the buyer added up from the catalogue, what was booked, what Stripe took."""
    wrong: list[str] = []
    booked = 0
    for buyer in _charged(sale):
        received = ledger.received.get(ledger.intents[buyer.email], 0)
        _, amount = ledger.bookings.get(buyer.reservation_id, ("", buyer.price))
        booked += amount if buyer.reservation_id in ledger.bookings else 0
        if not buyer.price == received == amount:
            wrong.append(f"{buyer.email}: shown {buyer.price}, booked {amount}, charged {received}")
    return Finding(
        "the price that is shown is the price that is charged",
        f"{len(_charged(sale))} payments",
        f"{booked} cents are booked",
        f"{sum(ledger.received.values())} cents received",
        told_with(f"{sum(buyer.price for buyer in _charged(sale))} cents by their own sums", wrong),
        not wrong,
    )


def _double_clicks(sale: Sale, ledger: Ledger) -> Finding:
    crowd = sale.crowd
    emails = {buyer.email for buyer in sale.buyers}
    holds = {email: count for email, count in ledger.holds_by_email.items() if email in emails}
    several = [f"{email} has {count} holds" for email, count in holds.items() if count > 1]
    unknown = [
        f"{buyer.email} was granted a hold that is not there"
        for buyer in sale.buyers
        if buyer.reservation and buyer.email not in ledger.holds_by_email
    ]
    refusals = crowd.seen["refusals beside a grant"]
    beside = f"; {refusals} times one click was refused, and the other granted" if refusals else ""
    return Finding(
        "a double click is one hold and one payment",
        f"{crowd.seen['double clicks']} double clicks, {crowd.seen['second tabs']} second tabs",
        told_with(f"{len(holds)} buyers have one hold each", several + unknown),
        "",
        told_with(f"all grants under one key are the same, byte for byte{beside}", crowd.told_differently),
        not several and not unknown and not crowd.told_differently,
    )


def _events_heard_once(ledger: Ledger) -> Finding:
    """What Stripe has brought was answered 2xx in every copy, and each event has one row, brought or not.

    An event that nothing is done with may have none.
    """
    brought = {event["event_id"] for event in ledger.deliveries}
    known = ledger.events_at_stripe
    needed = {event_id for event_id, event_type in known.items() if _is_acted_on(event_type)}
    refused = [
        f"{event['event_id']} {event['type']}: {event['last_status']}, {event['pending']} copies to come"
        for event in ledger.deliveries
        if event["pending"] or event["last_status"] != 200
    ]
    copies = sum(event["attempts"] for event in ledger.deliveries)
    most = max((event["attempts"] for event in ledger.deliveries), default=0)
    odd = [f"{event_id} has no row" for event_id in sorted(needed - ledger.events.keys())]
    odd += [f"{event_id} is not Stripe's" for event_id in sorted(ledger.events.keys() - known.keys())]
    return Finding(
        "every event is taken, however often and in whatever order it comes",
        f"{len(known)} events, {copies} copies brought",
        told_with(f"{len(ledger.events)} rows", odd),
        told_with(
            f"every copy was answered 200; up to {most} of one event; {len(known.keys() - brought)} were never brought",
            refused,
        ),
        "",
        not odd and not refused,
    )


def _is_acted_on(event_type: str) -> bool:
    return not event_type.startswith("charge.") or event_type.startswith(
        ("charge.refunded", "charge.dispute.")
    )


def _told_once(ledger: Ledger) -> Finding:
    """One word a booking, a move, a cancellation and a refund; a repeated delivery has the id of the first."""
    words: dict[str, set[str]] = {}
    for word in ledger.notifications:
        about = word.get("refund_id") or word.get("booking_id") or word.get("payment_id")
        words.setdefault(f"{word['type']} {about}", set()).add(word["id"])
    booked = {booking for booking, _ in ledger.bookings.values()}
    unseated = [reason for reason in ledger.refund_reasons.values() if reason.startswith(NEVER_SEATED)]
    due = Counter(
        {f"booked {booking}": 1 for booking in booked}
        | {f"cancelled {booking}": 1 for booking in ledger.cancelled}
        | {f"rescheduled {booking}": times for booking, times in ledger.moved.items()}
    )
    heard = Counter({subject: len(ids) for subject, ids in words.items()})
    kinds = Counter(_kind(subject) for subject in words)
    odd = [
        f"{subject}: {heard[subject]} times"
        for subject in sorted(due | heard)
        if _kind(subject) in TOLD and heard[subject] != due[subject]
    ]
    odd += [
        f"{subject}: {times} times"
        for subject, times in heard.items()
        if _kind(subject) not in TOLD and times > 1
    ]
    if kinds["could-not-be-seated"] != len(unseated):
        odd.append(
            f"{kinds['could-not-be-seated']} heard that they could not be seated, and not {len(unseated)}"
        )
    return Finding(
        "every booking and every refund is told once, and audited",
        f"{len(booked)} bookings, {len(ledger.refund_reasons)} refunds",
        told_with(f"{ledger.audited} bookings have their audit row", odd),
        "",
        f"the site heard {', '.join(f'{count} x {kind}' for kind, count in kinds.most_common())}",
        not odd and ledger.audited == len(booked),
    )


def _kind(subject: str) -> str:
    return subject.split(" ", maxsplit=1)[0]


def _effects_have_ended(ledger: Ledger) -> Finding:
    """Nothing waits in the outbox any more, and nothing there was given up."""
    told = ", ".join(f"{count} {status}" for status, count in sorted(ledger.effects.items()))
    return Finding(
        "every effect has left the outbox",
        f"{sum(ledger.effects.values())} effects",
        told,
        "",
        "",
        ledger.effects.keys() <= {"delivered"},
    )


def _answers_are_named(sale: Sale, killed: int) -> Finding:
    """Only the contract's answers, and the platform's 502 no more often than somebody was killed at work."""
    shop = sale.crowd.shop
    kinds: Counter[str] = Counter()
    for (_, kind), count in shop.kinds.items():
        kinds[kind] += count
    wrong = list(shop.unnamed)
    if kinds["502"] > killed:
        wrong.append(f"{kinds['502']} x 502 for {killed} kills")
    return Finding(
        "every answer is one that the contract names",
        f"{kinds.total()} answers",
        "",
        "",
        told_with(", ".join(f"{count} x {kind}" for kind, count in kinds.most_common()), wrong),
        not wrong,
    )


def cut_short(promise: str, failure: BaseException) -> Finding:
    """What was meant to happen, and what came in between."""
    traceback.print_exception(failure)
    return Finding(promise, "cut short", "", "", f"{type(failure).__name__}: {failure}", held=False)
