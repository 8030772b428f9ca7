"""What held: the promises as the database and Stripe tell them, and as the buyers saw it themselves."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from aiohttp import ClientSession

from local.demo.buyers import Buyer
from local.demo.scenes import Sale
from local.promises import check_promises

SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """A promise, how often it was put to the test, what each witness says, and whether it held."""

    promise: str
    figure: str
    database: str
    stripe: str
    buyers: str
    held: bool


async def findings(sale: Sale, stack: Mapping[str, Any]) -> list[Finding]:
    """Every promise with its evidence, at a moment when nothing is on its way."""
    stripe = stack["stripe"]
    common = check_promises(stack["database_admin_url"], stripe["api_base"], stripe["secret_key"])
    found = [
        Finding(each.name, each.figure, each.database_says, each.stripe_says, "", each.held)
        for each in common
    ]
    ledger = await _Ledger.read(sale, stack)
    return [
        *found,
        _paid_is_seated_or_refunded(sale, ledger),
        _price_shown_is_charged(sale, ledger),
        _double_clicks(sale, ledger),
        _events_heard_once(ledger),
        _told_once(ledger),
        _answers_are_named(sale),
        _hard_enough(sale, ledger),
    ]


@dataclass(frozen=True)
class _Ledger:
    """The rest of what the witnesses know: `bookings` and `refund_reasons` by reservation, `looks` and `intents` by email."""

    holds_by_email: Mapping[str, int]
    bookings: Mapping[str, tuple[str, int]]
    refund_reasons: Mapping[str, str]
    events: Mapping[str, str]
    audited: int
    notifications: Sequence[Mapping[str, Any]]
    deliveries: Sequence[Mapping[str, Any]]
    looks: Mapping[str, Mapping[str, Any]]
    received: Mapping[str, int]
    sent_back: Mapping[str, int]
    intents: Mapping[str, str]

    @classmethod
    async def read(cls, sale: Sale, stack: Mapping[str, Any]) -> "_Ledger":
        with psycopg.connect(stack["database_admin_url"]) as conn:
            holds = conn.execute("""
                SELECT c.email, count(*) FROM ticket_reservations r JOIN customers c ON c.id = r.customer_id
                GROUP BY c.email""").fetchall()
            bookings = conn.execute("SELECT reservation_id::text, id::text, amount FROM bookings").fetchall()
            reasons = conn.execute("""
                SELECT p.reservation_id::text, f.reason FROM refunds f
                JOIN payment_intents_log p ON p.id = f.payment_id""").fetchall()
            events = conn.execute("SELECT event_id, status FROM webhook_events_log").fetchall()
            (audited,) = conn.execute("""
                SELECT count(DISTINCT booking_id) FROM booking_audit_log
                WHERE table_name = 'bookings' AND action_type = 'insert'""").fetchone() or (0,)
        charged = [buyer for buyer in sale.buyers if buyer.charged]
        stripe = _StripeAccount(sale.http, stack["stripe"]["api_base"], stack["stripe"]["secret_key"])
        intents = {
            buyer.email: buyer.payment.get("payment_intent_id")
            or await stripe.intent_of(buyer.payment["checkout_session_id"])
            for buyer in charged
        }
        async with sale.http.get(f"{stack['notifications_url']}/_requests") as response:
            requests = await response.json()
        return cls(
            holds_by_email=dict(holds),
            bookings={reservation: (booking, amount) for reservation, booking, amount in bookings},
            refund_reasons=dict(reasons),
            events=dict(events),
            audited=audited,
            notifications=[json.loads(request["body"]) for request in requests],
            deliveries=await sale.weather.deliveries(),
            looks={buyer.email: await buyer.look() for buyer in charged},
            received=await stripe.amounts("payment_intents", "id", "amount_received"),
            sent_back=await stripe.amounts("refunds", "payment_intent", "amount"),
            intents=intents,
        )


@dataclass(frozen=True)
class _StripeAccount:
    http: ClientSession
    api_base: str
    secret_key: str

    async def intent_of(self, session_id: str) -> str:
        return (await self._get(f"/v1/checkout/sessions/{session_id}"))["payment_intent"]

    async def amounts(self, kind: str, by: str, field: str) -> Counter[str]:
        """The sum of a field over all objects of a kind that have not failed, by another field."""
        sums: Counter[str] = Counter()
        after = ""
        while True:
            page = await self._get(f"/v1/{kind}?limit=100{after}")
            for each in page["data"]:
                if each["status"] not in ("failed", "canceled"):
                    sums[each[by]] += each[field]
            if not page["has_more"]:
                return sums
            after = f"&starting_after={page['data'][-1]['id']}"

    async def _get(self, path: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.secret_key}"}
        async with self.http.get(self.api_base + path, headers=headers) as response:
            response.raise_for_status()
            return await response.json()


def _charged(sale: Sale) -> list[Buyer]:
    return [buyer for buyer in sale.buyers if buyer.charged]


def _paid_is_seated_or_refunded(sale: Sale, ledger: _Ledger) -> Finding:
    """Each buyer whose browser said "paid" is asked to look at his hold; Stripe is asked for his refund."""
    seated = refunded = 0
    wrong: list[str] = []
    for buyer in _charged(sale):
        intent = ledger.intents[buyer.email]
        booking = ledger.looks[buyer.email].get("booking_id")
        back = ledger.sent_back.get(intent, 0)
        seated += booking is not None and back == 0
        refunded += booking is None and back == buyer.price
        if (booking is not None, back) not in ((True, 0), (False, buyer.price)):
            wrong.append(f"{buyer.email} paid {buyer.price}: booking {booking}, {back} sent back")
    return Finding(
        "who has paid is seated or has the money back",
        f"{len(_charged(sale))} buyers",
        f"{len(ledger.bookings)} bookings",
        f"{sum(ledger.received.values())} cents received, {sum(ledger.sent_back.values())} sent back",
        _told(f"{seated} see their booking, {refunded} are refunded in full", wrong),
        not wrong and seated == len(ledger.bookings),
    )


def _price_shown_is_charged(sale: Sale, ledger: _Ledger) -> Finding:
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
        _told(f"{sum(buyer.price for buyer in _charged(sale))} cents by their own sums", wrong),
        not wrong,
    )


def _double_clicks(sale: Sale, ledger: _Ledger) -> Finding:
    crowd = sale.crowd
    several = [f"{email} has {count} holds" for email, count in ledger.holds_by_email.items() if count > 1]
    unknown = [
        f"{buyer.email} was granted a hold that is not there"
        for buyer in sale.buyers
        if buyer.reservation and buyer.email not in ledger.holds_by_email
    ]
    refusals = crowd.seen["refusals beside a grant"]
    beside = f"; {refusals} times one click was refused, and the other granted" if refusals else ""
    return Finding(
        "a double click is one hold and one payment",
        f"{crowd.double_clicks} double clicks, {crowd.second_tabs} second tabs",
        _told(f"{len(ledger.holds_by_email)} buyers have one hold each", several + unknown),
        "",
        _told(f"all grants under one key are the same, byte for byte{beside}", crowd.told_differently),
        not several and not unknown and not crowd.told_differently,
    )


def _events_heard_once(ledger: _Ledger) -> Finding:
    """Each event was answered 2xx in every copy, and has one row; none has a row that Stripe did not send."""
    sent = {event["event_id"] for event in ledger.deliveries}
    refused = [
        f"{event['event_id']} {event['type']}: {event['last_status']}, {event['pending']} copies to come"
        for event in ledger.deliveries
        if event["pending"] or event["last_status"] != 200
    ]
    copies = sum(event["attempts"] for event in ledger.deliveries)
    most = max((event["attempts"] for event in ledger.deliveries), default=0)
    odd = [f"{event_id} has no row" for event_id in sorted(sent - ledger.events.keys())]
    odd += [f"{event_id} was never sent" for event_id in sorted(ledger.events.keys() - sent)]
    return Finding(
        "every event is taken, however often and in whatever order it comes",
        f"{len(sent)} events in {copies} copies",
        _told(f"{len(ledger.events)} rows", odd),
        _told(f"every copy was answered 200; up to {most} of one event", refused),
        "",
        not odd and not refused,
    )


def _told_once(ledger: _Ledger) -> Finding:
    """One word a booking, one a refund; a repeated delivery has the id of the first."""
    words: dict[str, set[str]] = {}
    for word in ledger.notifications:
        subject = f"{word['type']} {word.get('booking_id') or word.get('payment_id')}"
        words.setdefault(subject, set()).add(word["id"])
    twice = [f"{subject}: {len(ids)} times" for subject, ids in words.items() if len(ids) > 1]
    kinds = Counter(subject.split(" ")[0] for subject in words)
    booked, back = len(ledger.bookings), len(ledger.refund_reasons)
    missing = (
        [] if (kinds["booked"], kinds["could-not-be-seated"]) == (booked, back) else [f"heard {dict(kinds)}"]
    )
    return Finding(
        "every booking and every refund is told once, and audited",
        f"{booked} bookings, {back} refunds",
        _told(f"{ledger.audited} bookings have their audit row", twice + missing),
        "",
        "",
        not twice and not missing and ledger.audited == booked,
    )


def _answers_are_named(sale: Sale) -> Finding:
    shop = sale.crowd.shop
    kinds: Counter[str] = Counter()
    for (_, kind), count in shop.kinds.items():
        kinds[kind] += count
    return Finding(
        "every answer is one that the contract names",
        f"{kinds.total()} answers",
        "",
        "",
        _told(", ".join(f"{count} x {kind}" for kind, count in kinds.most_common()), shop.unnamed),
        not shop.unnamed,
    )


def _hard_enough(sale: Sale, ledger: _Ledger) -> Finding:
    """A demo in which nothing went wrong would prove nothing: each hardship must have happened."""
    late = [buyer for buyer in _charged(sale) if buyer.reservation_id in sale.ended_by_force]
    seated = sum(buyer.reservation_id in ledger.bookings for buyer in late)
    reasons = Counter(ledger.refund_reasons.values())
    browser = sale.crowd.browser.seen
    hall = sale.counts["seats sold"] == sale.counts["seats"] and sale.counts["chairs sold"] == 1
    hardships = {
        "sold out": hall and sale.crowd.seen["sold out answers"] > 0,
        "double clicks": sale.crowd.double_clicks > 0,
        "declines": browser["declined"] > 0,
        "3-D Secure": browser["3-D Secure"] > 0,
        "both modes": all(
            sale.crowd.seen[f"payments as {mode}"] for mode in ("payment_intent", "checkout_session")
        ),
        "copies of events": any(event["attempts"] > 1 for event in ledger.deliveries),
        "calls cut off": sale.counts["Stripe calls cut off after their work"] > 0,
        "holds run out": sale.counts["holds that ran out"] > 0,
        "late and seated": seated > 0,
        "late and sold out": reasons["paid-late-sold-out"] > 0,
        "late and cancelled": reasons["reservation-cancelled"] > 0,
        "confirmed by the cleanup": sale.counts["holds paid at the deadline, confirmed by the cleanup"] > 0,
    }
    missing = [name for name, happened in hardships.items() if not happened]
    sale.counts["late payments seated"] = seated
    sale.counts["late payments refunded"] = len(late) - seated
    return Finding(
        "the sale was as hard as announced",
        f"{len(hardships) - len(missing)} of {len(hardships)} hardships",
        ", ".join(f"{count} refunded as {reason}" for reason, count in reasons.most_common()),
        "",
        _told(
            ", ".join(name for name in hardships if name not in missing), [f"no {name}" for name in missing]
        ),
        not missing,
    )


def _told(summary: str, wrong: Sequence[str]) -> str:
    if not wrong:
        return summary
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return f"{summary}; BROKEN {'; '.join(wrong[:SHOWN])}{more}".removeprefix("; ")


def invocations(logs: Path) -> Counter[str]:
    """How often each function ran, by the platform's reports; those that had to be started first as `cold starts`."""
    runs: Counter[str] = Counter()
    for file in sorted(logs.glob("*.jsonl")):
        for line in file.read_text(errors="replace").splitlines():
            if '"platform.report"' in line:
                report = json.loads(line)
                runs[file.stem] += 1
                runs["cold starts"] += bool(report["cold"])
    return runs
