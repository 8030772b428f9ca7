"""Holds: seats set aside for a buyer until a deadline."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from database.connection import Connection, Context, call


def reserve_tickets(
    conn: Connection,
    *,
    reservation_id: UUID,
    email: str,
    name: str,
    phone: str | None,
    items: Sequence[dict[str, Any]],
    hold: timedelta,
    ceiling: timedelta,
    key: str | None,
    request_hash: str | None,
    context: Context,
) -> dict[str, Any]:
    """Holds all items or none. Answers `{"outcome": ...}` as the SQL function of the same name says."""
    return call(
        conn,
        "SELECT reserve_tickets(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            reservation_id,
            email,
            name,
            phone,
            Jsonb(list(items)),
            hold,
            ceiling,
            key,
            request_hash,
            context["request_id"],
        ],
        context=context,
    )


def fetch_reservation(conn: Connection, reservation_id: UUID) -> dict[str, Any] | None:
    """The reservation with its payment and its booking's id, once these are there."""
    return call(
        conn,
        """
        SELECT reservation_answer(r.id)::jsonb || jsonb_strip_nulls(jsonb_build_object(
            'payment', (
                SELECT jsonb_build_object(
                    'payment_id', p.id, 'mode', p.mode, 'status', p.status, 'amount', p.amount, 'currency', p.currency)
                FROM payment_intents_log p WHERE p.reservation_id = r.id
                ORDER BY p.captured_amount DESC, p.created_at DESC LIMIT 1),
            'booking_id', (SELECT b.id FROM bookings b WHERE b.reservation_id = r.id)))
        FROM ticket_reservations r WHERE r.id = %s
        """,
        [reservation_id],
    )


def begin_close(
    conn: Connection, reservation_id: UUID, *, closing_as: str, lease: timedelta, context: Context
) -> dict[str, Any]:
    """Ends a hold at once, or takes the lease of the payment that Stripe has to close first."""
    return call(conn, "SELECT begin_close(%s, %s, %s)", [reservation_id, closing_as, lease], context=context)


def release_expired(conn: Connection, *, limit: int, context: Context) -> int:
    """Gives back up to `limit` holds that are over and have no payment open; answers how many."""
    return call(conn, "SELECT cleanup_expired_reservations(%s)", [limit], context=context)
