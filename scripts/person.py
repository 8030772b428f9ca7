"""Where a person is found: everything that belongs to the customer of an address, and what else mentions them."""

import os
import sys
from typing import LiteralString

# Begins a statement about one person, whose address is %(email)s; what a statement does not name is not looked for.
# Emails are scrubbed from error reports before they are stored, names cannot be: a sample too many hurts nobody.
PERSON: LiteralString = r"""
WITH customer AS (
    SELECT * FROM customers WHERE lower(email) = lower(%(email)s)
), holds AS (
    SELECT id FROM ticket_reservations WHERE customer_id IN (SELECT id FROM customer)
), payments AS (
    SELECT id FROM payment_intents_log WHERE reservation_id IN (SELECT id FROM holds)
), sold AS (
    SELECT id FROM bookings WHERE reservation_id IN (SELECT id FROM holds)
), notifications AS (
    SELECT id FROM outbox WHERE kind = 'notification' AND (
        payload ->> 'reservation_id' IN (SELECT id::text FROM holds)
        OR lower(payload -> 'customer' ->> 'email') = lower(%(email)s))
), events AS (
    SELECT event_id AS id FROM webhook_events_log
    WHERE payment_id IN (SELECT id FROM payments)
        OR strpos(lower(concat(payload, last_error)), lower(%(email)s)) > 0
), keys AS (
    SELECT scope, key FROM idempotency_keys
    WHERE scope = 'reservations:' || lower(%(email)s)
        OR scope IN (SELECT unnest(ARRAY['create-payment-intent:' || id, 'bookings:' || id]) FROM holds)
        OR substring(scope FROM '^bookings:(.{36}):') IN (SELECT id::text FROM sold)
        OR strpos(lower(answer), lower(%(email)s)) > 0
), words AS (
    SELECT '(^|[^[:alnum:]])' || regexp_replace(lower(word), '([^[:alnum:]\s])', '\\\1', 'g') || '($|[^[:alnum:]])' AS word
    FROM (SELECT %(email)s UNION SELECT unnest(ARRAY[name, phone]) FROM customer) AS w (word) WHERE word <> ''
), samples AS (
    SELECT id FROM error_logs, words WHERE lower(concat(error_message, ' ', stack_trace, ' ', context, ' ', url)) ~ word
)
"""


def email_asked_for() -> str:
    """EMAIL; ends the program where there is none."""
    email = (os.environ.get("EMAIL") or "").strip()
    if not email:
        print("say whose: EMAIL=ada@example.com", file=sys.stderr)
        sys.exit(2)
    return email
