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
    credit_users: Sequence[Row]
    credit_entries: Sequence[Row]
    closed_slots: Sequence[Row]
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
                   count(t.units)::integer AS parties, s.held_units + s.sold_units AS units_said,
                   s.held_bookings + s.sold_bookings AS parties_said
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
            SELECT b.id, b.reservation_id, b.status, b.payment_method, b.payment_status, b.amount, b.currency,
                   b.user_id, b.credits, b.cancelled_at IS NOT NULL AS was_cancelled, b.refundable_percent,
                   p.payment_intent_id, i.credits AS credits_price
            FROM bookings b LEFT JOIN payment_intents_log p ON p.id = b.payment_id
            LEFT JOIN LATERAL (
                SELECT sum(units * credits_price)::integer AS credits FROM booking_items WHERE booking_id = b.id
            ) i ON true""").fetchall()
        credit_users = conn.execute("""
            SELECT u.user_id, u.balance, coalesce(sum(g.remaining), 0)::integer AS remaining
            FROM user_credits u LEFT JOIN credit_grants g USING (user_id) GROUP BY u.user_id""").fetchall()
        credit_entries = conn.execute(
            "SELECT user_id, grant_id, booking_id, kind, delta FROM credit_entries"
        ).fetchall()
        # What has come to slots since the audit says that they were closed: holds, and bookings that were moved there.
        closed_slots = conn.execute("""
            SELECT s.id, s.sold_units, (
                SELECT count(*)::integer FROM reservation_items i JOIN ticket_reservations r ON r.id = i.reservation_id
                WHERE i.slot_id = s.id AND r.created_at > c.closed_at
            ) + (
                SELECT count(*)::integer FROM booking_audit_log m
                WHERE m.table_name = 'booking_items' AND m.action_type = 'update' AND m.created_at > c.closed_at
                  AND m.new_values ->> 'slot_id' = s.id::text AND m.old_values ->> 'slot_id' <> s.id::text
            ) AS came_later
            FROM slots s CROSS JOIN LATERAL (
                SELECT max(created_at) AS closed_at FROM booking_audit_log
                WHERE table_name = 'slots' AND row_id = s.id AND new_values ->> 'is_legacy' = 'true'
                  AND old_values ->> 'is_legacy' IS DISTINCT FROM 'true'
            ) c WHERE s.is_legacy""").fetchall()
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
        credit_users=credit_users,
        credit_entries=credit_entries,
        closed_slots=closed_slots,
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
