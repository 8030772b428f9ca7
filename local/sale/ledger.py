"""What each side knows when the sale is over."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import psycopg
from aiohttp import ClientSession

from local.promises import RESERVATION_ID
from local.sale.sale import Sale


@dataclass(frozen=True)
class Ledger:
    """What the witnesses know beside the common promises.

    `holds` (their status) and `bookings` (id and amount) by reservation, `payments` (intent and session) by their own
    id, `refund_reasons` by payment, `looks` and `intents` by the email of who was charged, `effects` by their status,
    `moved` (how often, by the audit) and `cancelled` by booking,
    what Stripe has `received` and `sent_back` by intent and `kept` by reservation, `events_at_stripe` (their type) by id. `deliveries` are of
    the events that Stripe brings by itself.
    """

    holds_by_email: Mapping[str, int]
    holds: Mapping[str, str]
    payments: Mapping[str, tuple[str | None, str | None]]
    effects: Mapping[str, int]
    bookings: Mapping[str, tuple[str, int]]
    refund_reasons: Mapping[str, str]
    events: Mapping[str, str]
    audited: int
    moved: Mapping[str, int]
    cancelled: AbstractSet[str]
    closed_slots: AbstractSet[str]
    notifications: Sequence[Mapping[str, Any]]
    deliveries: Sequence[Mapping[str, Any]]
    looks: Mapping[str, Mapping[str, Any]]
    received: Mapping[str, int]
    sent_back: Mapping[str, int]
    kept: Mapping[str, int]
    intents: Mapping[str, str]
    events_at_stripe: Mapping[str, str]

    @classmethod
    async def read(cls, sale: Sale, stack: Mapping[str, Any]) -> "Ledger":
        with psycopg.connect(stack["database_admin_url"]) as conn:
            holds = conn.execute("""
                SELECT c.email, count(*) FROM ticket_reservations r JOIN customers c ON c.id = r.customer_id
                GROUP BY c.email""").fetchall()
            statuses = conn.execute("SELECT id::text, status FROM ticket_reservations").fetchall()
            payments = conn.execute(
                "SELECT id::text, payment_intent_id, checkout_session_id FROM payment_intents_log"
            ).fetchall()
            effects = conn.execute("SELECT status, count(*) FROM outbox GROUP BY status").fetchall()
            bookings = conn.execute("SELECT reservation_id::text, id::text, amount FROM bookings").fetchall()
            reasons = conn.execute("""
                SELECT payment_id::text, reason FROM refunds""").fetchall()
            events = conn.execute("SELECT event_id, status FROM webhook_events_log").fetchall()
            (audited,) = conn.execute("""
                SELECT count(DISTINCT booking_id) FROM booking_audit_log
                WHERE table_name = 'bookings' AND action_type = 'insert'""").fetchone() or (0,)
            moved = conn.execute("""
                SELECT booking_id::text, count(*) FROM booking_audit_log
                WHERE table_name = 'booking_items' AND old_values ->> 'slot_id' <> new_values ->> 'slot_id'
                GROUP BY booking_id""").fetchall()
            cancelled = conn.execute("SELECT id::text FROM bookings WHERE status = 'cancelled'").fetchall()
            closed = conn.execute("SELECT id::text FROM slots WHERE is_legacy").fetchall()
        charged = [buyer for buyer in sale.buyers if buyer.charged]
        stripe = StripeAccount(sale.http, stack["stripe"]["api_base"], stack["stripe"]["secret_key"])
        intents = {
            buyer.email: buyer.payment.get("payment_intent_id")
            or await stripe.intent_of(buyer.payment["checkout_session_id"])
            for buyer in charged
        }
        sent_back = await stripe.amounts("refunds", "payment_intent", "amount")
        received: dict[str, int] = {}
        kept: Counter[str] = Counter()
        for intent in await stripe.everything("payment_intents"):
            received[intent["id"]] = intent["amount_received"]
            kept[intent["metadata"].get(RESERVATION_ID)] += (
                intent["amount_received"] - sent_back[intent["id"]]
            )
        async with sale.http.get(f"{stack['notifications_url']}/_requests") as response:
            requests = await response.json()
        return cls(
            holds_by_email=dict(holds),
            holds=dict(statuses),
            payments={payment: (intent, session) for payment, intent, session in payments},
            effects=dict(effects),
            bookings={reservation: (booking, amount) for reservation, booking, amount in bookings},
            refund_reasons=dict(reasons),
            events=dict(events),
            audited=audited,
            moved=dict(moved),
            cancelled={booking for (booking,) in cancelled},
            closed_slots={slot for (slot,) in closed},
            notifications=[json.loads(request["body"]) for request in requests],
            deliveries=await sale.weather.deliveries(),
            looks={buyer.email: await buyer.look() for buyer in charged},
            received=received,
            sent_back=sent_back,
            kept=kept,
            intents=intents,
            events_at_stripe={event["id"]: event["type"] for event in await stripe.everything("events")},
        )


@dataclass(frozen=True)
class StripeAccount:
    """What the account's owner is told."""

    http: ClientSession
    api_base: str
    secret_key: str

    async def intent_of(self, session_id: str) -> str:
        return (await self._get(f"/v1/checkout/sessions/{session_id}"))["payment_intent"]

    async def amounts(self, kind: str, by: str, field: str) -> Counter[str]:
        """The sum of a field over all objects of a kind that have not failed, by another field."""
        sums: Counter[str] = Counter()
        for each in await self.everything(kind):
            if each["status"] not in ("failed", "canceled"):
                sums[each[by]] += each[field]
        return sums

    async def everything(self, kind: str) -> list[dict[str, Any]]:
        """All objects of a kind, the newest first."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            page = await self._get(f"/v1/{kind}?limit=100{after}")
            found += page["data"]
            if not page["has_more"]:
                return found
            after = f"&starting_after={page['data'][-1]['id']}"

    async def _get(self, path: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.secret_key}"}
        async with self.http.get(self.api_base + path, headers=headers) as response:
            response.raise_for_status()
            return await response.json()
