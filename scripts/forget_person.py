"""Removes what is personal of a person, by their address, and keeps books, bookings, money and audit whole: EMAIL=.

One commit, which says what it did. Refused while something is open for which the person may have to be reached, or which
would write about them anew. Logs outside the database expire by themselves.
"""

import json
import sys
from typing import Any, LiteralString, cast

import psycopg
from psycopg.types.json import Jsonb

from scripts.owner import connect_as_owner
from scripts.person import PERSON, email_asked_for

CONTEXT = {"actor": "operator", "reason": "forgotten"}
# What Stripe's objects say of people, https://docs.stripe.com/api; no rule reads any of it.
PERSONAL = frozenset(
    {
        "billing_details",
        "collected_information",
        "customer_details",
        "customer_email",
        "payment_method_details",
    }
    | {"receipt_email", "shipping", "shipping_details", "email", "name", "phone", "address"}
)
# The queue in which the customer's holds stand, too: none begins or ends unseen.
LOCK: LiteralString = "SELECT FROM customers WHERE lower(email) = lower(%s) FOR NO KEY UPDATE"
OPEN: dict[str, LiteralString] = {
    "holds": "FROM ticket_reservations x WHERE x.id IN (SELECT id FROM holds) AND x.status = 'active'",
    "refunds": "FROM refunds x WHERE x.payment_id IN (SELECT id FROM payments) AND x.status = 'pending'",
    "disputes": "FROM disputes x WHERE x.payment_id IN (SELECT id FROM payments) AND x.standing IN ('inquiry', 'open')",
}

AHEAD: LiteralString = """
SELECT count(DISTINCT b.id) FROM bookings b
JOIN booking_items i ON i.booking_id = b.id
JOIN slots s ON s.id = i.slot_id
WHERE b.id IN (SELECT id FROM sold) AND b.status IN ('confirmed', 'frozen') AND s.starts_at > now()
"""
REMOVALS: dict[str, LiteralString] = {
    "notifications stripped, those that waited not sent": """
        UPDATE outbox SET payload = payload - 'customer',
            status = CASE WHEN status = 'pending' THEN 'canceled' ELSE status END
        WHERE id IN (SELECT id FROM notifications)
    """,
    "idempotency keys removed": """
        DELETE FROM idempotency_keys WHERE (scope, key) IN (SELECT scope, key FROM keys)
    """,
    "error samples removed": "DELETE FROM error_logs WHERE id IN (SELECT id FROM samples)",
    "error titles removed": """
        UPDATE error_groups SET title = '[removed]' WHERE EXISTS (SELECT FROM words WHERE lower(title) ~ word)
    """,
}
EVENTS: LiteralString = """
SELECT event_id, payload, status, last_error FROM webhook_events_log WHERE event_id IN (SELECT id FROM events)
"""
ANONYMISE: LiteralString = """
UPDATE customers SET email = 'forgotten-' || id || '@forgotten.invalid', name = 'Forgotten', phone = NULL
WHERE id IN (SELECT id FROM customer)
"""

type Connection = psycopg.Connection[tuple[Any, ...]]


class StillOpen(Exception):
    """Something of theirs has to come to its end first."""


def forget(conn: Connection, email: str) -> dict[str, int]:
    """How much of each was changed. Raises `StillOpen`; nothing is changed then."""
    with conn.transaction():
        conn.execute("SELECT set_config('holdfast.context', %s, true)", [json.dumps(CONTEXT)])
        conn.execute(LOCK, [email])
        still_open = {name: _count(conn, "SELECT count(*) " + where, email) for name, where in OPEN.items()}
        if any(still_open.values()):
            raise StillOpen(", ".join(f"{number} {name}" for name, number in still_open.items() if number))
        ahead = _count(conn, AHEAD, email)
        changed = {what: _change(conn, query, email) for what, query in REMOVALS.items()}
        changed["events of Stripe's stripped"] = _strip_events(conn, email)
        # Last: until here the customer is found by the address.
        changed["customers made nameless"] = _change(conn, ANONYMISE, email)
        return {**changed, "bookings still ahead, honoured as before": ahead}


def _strip_events(conn: Connection, email: str) -> int:
    events = conn.execute(PERSON + EVENTS, {"email": email}).fetchall()
    for event_id, payload, status, last_error in events:
        settled = status in ("processed", "ignored", "stale")
        conn.execute(
            "UPDATE webhook_events_log SET payload = %s, last_error = %s WHERE event_id = %s",
            [Jsonb({} if settled else without_person(payload, email)), last_error and "[removed]", event_id],
        )
    return len(events)


def without_person(value: Any, email: str) -> Any:
    """What an event that may be done again needs of its payload."""
    if isinstance(value, dict):
        return {
            key: without_person(each, email)
            for key, each in cast("dict[str, Any]", value).items()
            if key not in PERSONAL
        }
    if isinstance(value, list):
        return [without_person(each, email) for each in cast("list[Any]", value)]
    return "[removed]" if isinstance(value, str) and email.lower() in value.lower() else value


def _count(conn: Connection, query: LiteralString, email: str) -> int:
    (number,) = conn.execute(PERSON + query, {"email": email}).fetchone() or (0,)
    return number


def _change(conn: Connection, query: LiteralString, email: str) -> int:
    return conn.execute(PERSON + query, {"email": email}).rowcount


def main() -> int:
    """Returns the exit status."""
    email = email_asked_for()
    with connect_as_owner() as conn:
        try:
            done = forget(conn, email)
        except StillOpen as refusal:
            print(f"not forgotten: still open are {refusal}; end them first", file=sys.stderr)
            return 1
    for what, number in done.items():
        print(f"{number} {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
