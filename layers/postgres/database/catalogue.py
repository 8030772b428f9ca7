"""What is sold and when."""

from datetime import datetime
from typing import Any
from uuid import UUID

from database.connection import Connection, call


def list_offerings(conn: Connection) -> list[dict[str, Any]]:
    """Every offering that is on sale, with its add-ons."""
    return call(
        conn,
        """
        SELECT coalesce(jsonb_agg(jsonb_build_object(
            'slug', o.slug, 'name', o.name, 'kind', o.kind, 'unit_amount', o.unit_amount, 'currency', o.currency,
            'credits_price', o.credits_price, 'timezone', o.timezone, 'pay_on_arrival', o.pay_on_arrival,
            'add_ons', (
                SELECT coalesce(jsonb_agg(jsonb_build_object(
                    'id', a.id, 'name', a.name, 'unit_amount', a.unit_amount) ORDER BY a.name), '[]')
                FROM add_ons a WHERE a.offering_id = o.id AND a.retired_at IS NULL)
            ) ORDER BY o.name, o.slug), '[]')
        FROM offerings o WHERE o.retired_at IS NULL
        """,
    )


def list_slots(
    conn: Connection,
    *,
    offering: str,
    starts_from: datetime | None,
    starts_to: datetime | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> list[dict[str, Any]] | None:
    """Up to `limit` future slots of an offering in order of their beginning, with what could be held now.

    `after` is the last slot of the page before. None: no such offering. There is one place in one index where a page
    begins, so that it costs the same whatever the number of slots, and however far in it is.
    """
    before_all = UUID(int=0)
    bounds = [bound for bound in (after, (starts_from, before_all) if starts_from else None) if bound]
    begin_at, begin_id = max(bounds) if bounds else (None, before_all)
    return call(
        conn,
        """
        WITH offering AS (
            SELECT id, slug FROM offerings WHERE slug = %(offering)s AND retired_at IS NULL
        ), page AS MATERIALIZED (
            SELECT s.id, s.starts_at, s.ends_at FROM slots s
            WHERE s.offering_id = (SELECT id FROM offering) AND NOT s.is_legacy
              AND (s.starts_at, s.id) > (greatest(%(begin_at)s::timestamptz, now()), %(begin_id)s::uuid)
              AND s.starts_at < coalesce(%(to)s::timestamptz, 'infinity')
            ORDER BY s.starts_at, s.id LIMIT %(limit)s
        )
        SELECT coalesce((
            SELECT jsonb_agg(jsonb_build_object(
                'id', p.id, 'offering', o.slug, 'starts_at', rfc3339(p.starts_at), 'ends_at', rfc3339(p.ends_at),
                'units_left', greatest(l.units_left, 0), 'bookings_left', greatest(l.bookings_left, 0)
            ) ORDER BY p.starts_at, p.id)
            FROM page p JOIN slots_left(ARRAY(SELECT id FROM page)) l ON l.slot_id = p.id
        ), '[]')
        FROM offering o
        """,
        {  # pyright: ignore[reportArgumentType] - psycopg takes a mapping for named parameters
            "offering": offering,
            "begin_at": begin_at,
            "begin_id": begin_id,
            "to": starts_to,
            "limit": limit,
        },
    )
