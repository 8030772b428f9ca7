"""The SQL of the functions' acts and nothing else: what no code around it can be faster than."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg

from database import holds, jobs, payments, settlement, webhook_events
from database.connection import SET_CONTEXT
from domain.currencies import chargeable_limits

CONTEXT = {"actor": "stripe", "request_id": "bench"}
HASH = "0" * 64


def hold(conn: psycopg.Connection, request: Mapping[str, Any]) -> None:
    """`POST /reservations`."""
    holds.reserve_tickets(
        conn,
        reservation_id=uuid4(),
        email=request["customer"]["email"],
        name=request["customer"]["name"],
        phone=None,
        items=[{**item, "add_ons": []} for item in request["items"]],
        hold=timedelta(minutes=15),
        ceiling=timedelta(minutes=30),
        key=str(uuid4()),
        request_hash=HASH,
        context=CONTEXT,
    )


def pay(conn: psycopg.Connection, reservation_id: UUID) -> None:
    """`create-payment-intent`, as if Stripe had answered at once."""
    payment_id, key = uuid4(), str(uuid4())
    begun = payments.begin_payment(
        conn,
        payment_id=payment_id,
        reservation_id=reservation_id,
        mode="payment_intent",
        parameters={"metadata": {"holdfast_payment_id": str(payment_id)}},
        chargeable=chargeable_limits(),
        window=timedelta(minutes=10),
        lease=timedelta(seconds=12),
        expected_amount=None,
        expected_currency=None,
        key=key,
        request_hash=HASH,
        context=CONTEXT,
    )
    payments.record_payment(
        conn,
        payment_id=begun["payment"]["id"],
        attempt=begun["payment"]["attempt"],
        payment_intent_id=f"pi_{uuid4().hex}",
        checkout_session_id=None,
        status="requires_payment_method",
        key=key,
        key_attempt=begun["key_attempt"],
        key_status=201,
        answer=json.dumps({"payment_id": begun["payment"]["id"]}),
        context=CONTEXT,
    )


def webhook(conn: psycopg.Connection, event: Mapping[str, Any]) -> None:
    """`stripe-webhook` on money that comes in: one transaction in two round trips."""
    intent = event["data"]["object"]
    with conn.pipeline():
        conn.execute("BEGIN")
        conn.execute(SET_CONTEXT, [json.dumps(CONTEXT)])
        cursor = webhook_events.claim_webhook_event(
            conn,
            event_id=event["id"],
            event_type=event["type"],
            payload=event,
            request_id="bench",
            payment_intent_id=intent["id"],
            checkout_session_id=None,
            payment_id=intent["metadata"]["holdfast_payment_id"],
        )
    row = cursor.fetchone()
    payment = (row or ({},))[0]["payment"]
    with conn.pipeline():
        settlement.record_facts(
            conn,
            payment["id"],
            payment_intent_id=intent["id"],
            checkout_session_id=None,
            captured_amount=intent["amount_received"],
            awaits_funds=False,
            status=intent["status"],
            seen_at=datetime.fromtimestamp(event["created"], UTC),
            funds=timedelta(days=7),
        )
        settlement.confirm_hold(conn, payment["reservation_id"], payment["id"])
        webhook_events.settle_webhook_event(
            conn, event["id"], status="processed", reason=None, payment_id=payment["id"]
        )
        conn.execute("COMMIT")


def cleanup(conn: psycopg.Connection, _: None) -> None:
    """A run of `reservation-cleanup` that finds one batch of unpaid holds."""
    holds.release_expired(conn, limit=500, context=CONTEXT)
    payments.claim_payments_to_close(conn, limit=8, lease=timedelta(seconds=45))
    with conn.pipeline():
        jobs.forget_old_idempotency_keys(conn)
        jobs.finish_job(
            conn, "bench", request_id="bench", started_at=datetime.now(UTC), result={"released": 0}
        )
