"""Prints everything that is kept of a person, by their address, as one JSON object: EMAIL=."""

import json
import sys
from typing import Any, LiteralString

import psycopg

from scripts.owner import connect_as_owner
from scripts.person import PERSON, email_asked_for

SECTIONS: dict[str, LiteralString] = {
    "customer": "FROM customers x WHERE x.id IN (SELECT id FROM customer)",
    "reservations": "FROM ticket_reservations x WHERE x.id IN (SELECT id FROM holds)",
    "reservation_items": "FROM reservation_items x WHERE x.reservation_id IN (SELECT id FROM holds)",
    "reservation_add_ons": """
        FROM reservation_add_ons x WHERE x.item_id IN (
            SELECT id FROM reservation_items WHERE reservation_id IN (SELECT id FROM holds))
    """,
    "payments": "FROM payment_intents_log x WHERE x.id IN (SELECT id FROM payments)",
    "bookings": "FROM bookings x WHERE x.id IN (SELECT id FROM sold)",
    "booking_items": "FROM booking_items x WHERE x.booking_id IN (SELECT id FROM sold)",
    "booking_add_ons": """
        FROM booking_add_ons x WHERE x.item_id IN (
            SELECT id FROM booking_items WHERE booking_id IN (SELECT id FROM sold))
    """,
    "refunds": "FROM refunds x WHERE x.payment_id IN (SELECT id FROM payments)",
    "disputes": "FROM disputes x WHERE x.payment_id IN (SELECT id FROM payments)",
    "credits": "FROM credit_entries x WHERE x.booking_id IN (SELECT id FROM sold)",
    "notifications": "FROM outbox x WHERE x.id IN (SELECT id FROM notifications)",
    "stripe_events": "FROM webhook_events_log x WHERE x.event_id IN (SELECT id FROM events)",
    "idempotency_keys": "FROM idempotency_keys x WHERE (x.scope, x.key) IN (SELECT scope, key FROM keys)",
    "error_samples": "FROM error_logs x WHERE x.id IN (SELECT id FROM samples)",
    "audit": """
        FROM booking_audit_log x WHERE x.booking_id IN (SELECT id FROM sold) OR x.row_id IN (
            SELECT id FROM customer UNION ALL SELECT id FROM holds UNION ALL SELECT id FROM payments)
    """,
}


def export(conn: psycopg.Connection[tuple[Any, ...]], email: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of each kind, as they are at one moment."""
    rows: dict[str, list[dict[str, Any]]] = {}
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for name, section in SECTIONS.items():
            found = conn.execute(PERSON + "SELECT to_jsonb(x) " + section, {"email": email})
            rows[name] = [row for (row,) in found]
    return rows


if __name__ == "__main__":
    asked_for = email_asked_for()
    with connect_as_owner() as owner:
        json.dump(export(owner, asked_for), sys.stdout, ensure_ascii=False, indent=2)
    print()
