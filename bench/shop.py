"""What the measures need in a database before they begin, and the events that the functions are handed."""

import copy
import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

from bench.stand import Stand
from domain.currencies import chargeable_limits
from domain.reservation import reservation_token
from local.postgres import DATABASE
from tests.emulator_process import WEBHOOK_SECRET
from tests.support.lambda_events import url_event
from tests.support.stripe_events import encoded, signature

UNIT_AMOUNT = 4500


@dataclass(frozen=True)
class Payment:
    """A payment that is open at Stripe, as its row has it."""

    id: UUID
    reservation_id: UUID
    intent_id: str


class Shop:
    """One offering with room for everybody, in one database."""

    def __init__(self, stand: Stand, database: str = DATABASE) -> None:
        self._token_secret = stand.secrets.token_secret
        self._admin_token = stand.secrets.admin_token()
        self._conn = psycopg.connect(stand.owner_url(database), autocommit=True)
        self._succeeded = _succeeded_event(stand)
        self.offering = f"bench-{uuid4().hex[:12]}"
        self._conn.execute(
            "INSERT INTO offerings (slug, name, kind, unit_amount, currency, timezone)"
            " VALUES (%s, 'Bench', 'ticket', %s, 'eur', 'Europe/Vienna')",
            [self.offering, UNIT_AMOUNT],
        )
        self.slot = self.new_slot()

    def close(self) -> None:
        """Lets the connection go."""
        self._conn.close()

    def new_slot(self) -> UUID:
        """A slot that never fills up."""
        return self._value(
            "INSERT INTO slots (offering_id, starts_at, ends_at, max_units, max_bookings)"
            " SELECT id, now() + '30 days', now() + '30 days 2 hours', 1000000000, 1000000000"
            " FROM offerings WHERE slug = %s RETURNING id",
            [self.offering],
        )

    def holds(self, count: int) -> list[UUID]:
        """New holds, each of a customer of its own."""
        rows = self._conn.execute(
            """
            SELECT (reserve_tickets(gen_random_uuid(), 'buyer-' || gen_random_uuid() || '@example.com', 'Ada Example',
                NULL, %s) ->> 'answer')::json ->> 'id' FROM generate_series(1, %s)
            """,
            [Jsonb([{"slot_id": str(self.slot), "units": 1, "add_ons": []}]), count],
        )
        return [UUID(row[0]) for row in rows]

    def payments(self, count: int) -> list[Payment]:
        """New holds with a payment each, of which Stripe has told the id."""
        rows = self._conn.execute(
            """
            WITH begun AS MATERIALIZED (
                SELECT hold, begin_payment(gen_random_uuid(), hold, 'payment_intent', '{}', %s, '10 minutes', '12 seconds')
                    -> 'payment' AS payment
                FROM unnest(%s::uuid[]) AS hold
            )
            SELECT (payment ->> 'id')::uuid, hold, 'pi_' || replace(hold::text, '-', '') FROM begun
            """,
            [Jsonb(chargeable_limits()), self.holds(count)],
        )
        payments = [Payment(*row) for row in rows]
        self._conn.execute(
            "SELECT record_payment(id, 1, intent, NULL, 'requires_payment_method')"
            " FROM unnest(%s::uuid[], %s::text[]) AS p (id, intent)",
            [[payment.id for payment in payments], [payment.intent_id for payment in payments]],
        )
        return payments

    def expired_holds(self, count: int) -> None:
        """New holds that are over, for cleanup to find."""
        self._conn.execute(
            "UPDATE ticket_reservations SET expires_at = now() - interval '1 second' WHERE id = ANY (%s)",
            [self.holds(count)],
        )

    # Events.

    def nothing_to_deliver(self) -> None:
        """What earlier measures left in the outbox has left: a start of `deliver-outbox` is not a day's work of it."""
        self._conn.execute("UPDATE outbox SET status = 'delivered' WHERE status = 'pending'")

    def hold_event(self) -> bytes:
        """A buyer nobody knows yet asks for one unit."""
        body = {
            "items": [{"slot_id": str(self.slot), "units": 1}],
            "customer": {"email": f"buyer-{uuid4()}@example.com", "name": "Ada Example"},
        }
        return _url_event("POST", "/reservations", body, {"idempotency-key": str(uuid4())})

    def pay_event(self, reservation_id: UUID) -> bytes:
        """The buyer of a hold asks for its payment."""
        token = reservation_token(str(reservation_id), self._token_secret)
        headers = {"x-reservation-token": token, "idempotency-key": str(uuid4())}
        return _url_event("POST", "/", {"reservation_id": str(reservation_id)}, headers)

    def succeeded(self, payment: Payment) -> dict[str, Any]:
        """What Stripe says when the payment's money has come in: as the emulator says it, with these ids."""
        event = copy.deepcopy(self._succeeded)
        intent = event["data"]["object"]
        event["id"] = f"evt_{uuid4().hex}"
        event["created"] = int(time.time())
        intent["id"] = payment.intent_id
        intent["metadata"] = {
            "holdfast_payment_id": str(payment.id),
            "holdfast_reservation_id": str(payment.reservation_id),
        }
        return event

    def webhook_request(self, payment: Payment) -> tuple[bytes, str]:
        """The bytes that Stripe would post, and their signature."""
        payload = encoded(self.succeeded(payment))
        return payload, signature(payload, secret=WEBHOOK_SECRET)

    def webhook_event(self, payment: Payment) -> bytes:
        """Stripe's webhook as its function URL passes it on: `application/json`, so as text."""
        payload, signed = self.webhook_request(payment)
        return _url_event("POST", "/", payload.decode(), {"stripe-signature": signed})

    def slots_event(self, *, since: datetime | None = None) -> bytes:
        """Somebody looks at what is on sale, from then on."""
        query = f"offering={self.offering}" + (f"&from={since:%Y-%m-%dT%H:%M:%SZ}" if since else "")
        return json.dumps(url_event("GET", "/slots", query=query)).encode()

    def stats_event(self) -> bytes:
        """An administrator looks at the figures."""
        headers = {"authorization": f"Bearer {self._admin_token}"}
        return json.dumps(url_event("GET", "/stats", headers=headers)).encode()

    def usual_event(self, function: str) -> bytes:
        """What a function is mostly asked; an empty event for one that a schedule invokes."""
        match function:
            case "reservations":
                return self.hold_event()
            case "create-payment-intent":
                return self.pay_event(*self.holds(1))
            case "stripe-webhook":
                return self.webhook_event(*self.payments(1))
            case "log-error":
                return _url_event(
                    "POST", "/", {"message": "TypeError: x is undefined", "severity": "error"}, {}
                )
            case "health":
                return json.dumps(url_event("GET", "/ready")).encode()
            case "admin":
                return self.stats_event()
            case "bookings":
                headers = {"authorization": f"Bearer {self._admin_token}"}
                return json.dumps(url_event("GET", "/bookings", headers=headers)).encode()
            case "sessions":
                headers = {"authorization": f"Bearer {self._admin_token}"}
                return json.dumps(url_event("POST", "/", headers=headers)).encode()
            case "webhook-inbox":
                payload, _ = self.webhook_request(*self.payments(1))
                return json.dumps({"Records": [_message(payload.decode())]}).encode()
            case _:
                return b"{}"

    def _value(self, query: bytes | str, params: list[object]) -> Any:
        row = self._conn.execute(query.encode() if isinstance(query, str) else query, params).fetchone()
        return row[0] if row else None


def _message(body: str) -> dict[str, Any]:
    """A message of a queue, as Lambda hands it on."""
    return {
        "messageId": str(uuid4()),
        "receiptHandle": "bench",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
    }


def _url_event(method: str, path: str, body: object, headers: dict[str, str]) -> bytes:
    return json.dumps(url_event(method, path, body, headers, wrapped=False)).encode()


def _succeeded_event(stand: Stand) -> dict[str, Any]:
    """A `payment_intent.succeeded` of the emulator's, in full."""
    client = stand.stripe.client().v1
    intent = client.payment_intents.create(
        {"amount": UNIT_AMOUNT, "currency": "eur", "allowed_payment_method_types": ["card"]}
    )
    client.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    for event in client.events.list({"limit": 20}).auto_paging_iter():
        if event.type == "payment_intent.succeeded" and event.data.object["id"] == intent.id:
            return event.to_dict()
    raise LookupError("the emulator has not told of the payment")
