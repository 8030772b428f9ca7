"""Bookings: made of holds without a payment, shown and listed."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from database.connection import Connection, Context, call


def book_reservation(
    conn: Connection,
    *,
    booking_id: UUID,
    reservation_id: UUID,
    payment_method: str,
    user_id: str | None,
    lease: timedelta,
    key: str | None,
    request_hash: str,
    context: Context,
) -> dict[str, Any]:
    """Books the hold, or takes the lease of a payment that has to be closed first.

    Answers `{"outcome": ...}` as the SQL function of the same name says.
    """
    return call(
        conn,
        "SELECT book_reservation(%s, %s, %s, %s, %s, %s, %s)",
        [booking_id, reservation_id, payment_method, user_id, lease, key, request_hash],
        context=context,
    )


def fetch_booking(conn: Connection, booking_id: UUID) -> dict[str, Any] | None:
    """`{"reservation_id", "user_id", "answer"}`: by whom it may be seen, and what they then see."""
    return call(
        conn,
        """
        SELECT json_build_object('reservation_id', reservation_id, 'user_id', user_id, 'answer', booking_answer(id))
        FROM bookings WHERE id = %s
        """,
        [booking_id],
    )


def list_bookings(
    conn: Connection,
    *,
    status: str | None,
    offering: str | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[dict[str, Any]] | None:
    """Up to `limit` bookings, newest first; `before` is the last one of the page before. None: no such offering."""
    before_at, before_id = before or (None, None)
    known = {"status": status, "offering": offering, "at": before_at, "id": before_id, "limit": limit}
    if offering is None:
        return call(
            conn,
            """
            SELECT coalesce(json_agg(booking_answer(page.id) ORDER BY page.created_at DESC, page.id DESC), '[]') FROM (
                SELECT b.id, b.created_at FROM bookings b
                WHERE (%(status)s::text IS NULL OR b.status = %(status)s)
                  AND (b.created_at, b.id) < (
                      coalesce(%(at)s::timestamptz, 'infinity'),
                      coalesce(%(id)s::uuid, '00000000-0000-0000-0000-000000000000'))
                ORDER BY b.created_at DESC, b.id DESC LIMIT %(limit)s
            ) page
            """,
            known,  # pyright: ignore[reportArgumentType] - psycopg takes a mapping for named parameters
        )
    return call(
        conn,
        """
        SELECT coalesce((
            SELECT json_agg(booking_answer(page.booking_id) ORDER BY page.booked_at DESC, page.booking_id DESC) FROM (
                SELECT l.booking_id, l.booked_at FROM offering_bookings l JOIN bookings b ON b.id = l.booking_id
                WHERE l.offering_id = o.id
                  AND (%(status)s::text IS NULL OR b.status = %(status)s)
                  AND (l.booked_at, l.booking_id) < (
                      coalesce(%(at)s::timestamptz, 'infinity'),
                      coalesce(%(id)s::uuid, '00000000-0000-0000-0000-000000000000'))
                ORDER BY l.booked_at DESC, l.booking_id DESC LIMIT %(limit)s
            ) page
        ), '[]')
        FROM offerings o WHERE o.slug = %(offering)s
        """,
        known,  # pyright: ignore[reportArgumentType] - psycopg takes a mapping for named parameters
    )
