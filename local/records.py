"""What both sides have on record, the database and Stripe: read for whoever judges by it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import stripe
from psycopg.rows import dict_row

# What stripe_gateway writes into the metadata of every payment that it makes. Written out here and not imported: who
# judges takes nothing from the judged.
PAYMENT_ID = "holdfast_payment_id"

type Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Records:
    """Everything that the promises are about, as both sides have it."""

    slots: Sequence[Row]
    holds: Mapping[str, Row]
    payments: Sequence[Row]
    bookings: Sequence[Row]
    refunds: Sequence[Row]
    events: Sequence[Row]
    overdue_effects: int
    violations: Sequence[Row]
    intents: Mapping[str, Row]
    sessions: Sequence[Row]
    stripe_refunds: Sequence[Row]
    disputes: Sequence[Row]


def read_records(database_admin_url: str, stripe_api_base: str, stripe_secret_key: str) -> Records:
    """The database at one moment, then Stripe; `database_admin_url` is the owner's."""
    with psycopg.Connection[dict[str, Any]].connect(database_admin_url, row_factory=dict_row) as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ  # one moment for all of it
        slots = conn.execute("""
            SELECT s.id, s.max_units, s.max_bookings, coalesce(sum(t.units), 0)::integer AS units,
                   count(t.units)::integer AS parties
            FROM slots s LEFT JOIN (
                SELECT i.slot_id, i.units FROM reservation_items i JOIN ticket_reservations r ON r.id = i.reservation_id
                WHERE r.status = 'active'
                UNION ALL
                SELECT i.slot_id, i.units FROM booking_items i JOIN bookings b ON b.id = i.booking_id
                WHERE b.status IN ('confirmed', 'frozen')
            ) t ON t.slot_id = s.id GROUP BY s.id""").fetchall()
        holds = conn.execute(
            "SELECT id, status, expires_at <= now() AS is_over FROM ticket_reservations"
        ).fetchall()
        payments = conn.execute("SELECT id, payment_intent_id FROM payment_intents_log").fetchall()
        bookings = conn.execute("""
            SELECT b.id, b.status, b.payment_method, b.amount, b.currency, p.payment_intent_id
            FROM bookings b LEFT JOIN payment_intents_log p ON p.id = b.payment_id""").fetchall()
        refunds = conn.execute("""
            SELECT f.id, f.amount, f.reason, f.stripe_refund_id, p.payment_intent_id,
                   -- What Stripe would not make, however often it was asked: a person has been told of it.
                   CASE WHEN f.status = 'failed' AND o.status = 'dead' THEN 'given up' ELSE f.status END AS status
            FROM refunds f JOIN payment_intents_log p ON p.id = f.payment_id
            LEFT JOIN outbox o ON o.refund_id = f.id""").fetchall()
        events = conn.execute("SELECT event_id, status, reason FROM webhook_events_log").fetchall()
        (overdue,) = conn.execute("""
            SELECT count(*)::integer AS effects FROM outbox
            WHERE status = 'pending' AND next_attempt_at < now() - interval '5 minutes'""").fetchall()
        violations = conn.execute("SELECT * FROM invariant_violations").fetchall()
    client = stripe.StripeClient(
        stripe_secret_key, base_addresses={"api": stripe_api_base}, max_network_retries=2
    ).v1
    everything = {"limit": 100}
    intents = [_plain(intent) for intent in client.payment_intents.list(everything).auto_paging_iter()]  # pyright: ignore[reportArgumentType] - a page size is all they take here
    sessions = [_plain(session) for session in client.checkout.sessions.list(everything).auto_paging_iter()]  # pyright: ignore[reportArgumentType] - as above
    sent = [_plain(refund) for refund in client.refunds.list(everything).auto_paging_iter()]  # pyright: ignore[reportArgumentType] - as above
    disputes = [_plain(dispute) for dispute in client.disputes.list(everything).auto_paging_iter()]  # pyright: ignore[reportArgumentType] - as above
    return Records(
        slots=slots,
        holds={str(hold["id"]): hold for hold in holds},
        payments=payments,
        bookings=bookings,
        refunds=refunds,
        events=events,
        overdue_effects=overdue["effects"],
        violations=violations,
        intents={intent["id"]: intent for intent in intents if PAYMENT_ID in intent["metadata"]},
        sessions=[session for session in sessions if PAYMENT_ID in session["metadata"]],
        stripe_refunds=sent,
        disputes=disputes,
    )


def _plain(stripe_object: stripe.StripeObject) -> dict[str, Any]:
    return stripe_object.to_dict()
