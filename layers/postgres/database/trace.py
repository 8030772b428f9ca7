"""One story, read from all tables that it has left something in."""

from typing import Any

from database.connection import Connection, call


def tell_story(conn: Connection, known_id: str) -> dict[str, Any]:
    """`{"reservation_id", "booking_id", "entries"}` of what the id belongs to, in order; `entries` is empty where nobody knows the id.

    An entry has what the SQL function `story_of` says, without what there is nothing of.
    """
    return call(
        conn,
        """
        SELECT jsonb_build_object(
            'reservation_id', r.id,
            'booking_id', (SELECT b.id FROM bookings b WHERE b.reservation_id = r.id),
            'entries', coalesce((
                SELECT jsonb_agg(jsonb_strip_nulls(to_jsonb(s) - 'n' || jsonb_build_object('at', rfc3339(s.at))) ORDER BY s.n)
                FROM (SELECT row_number() OVER () AS n, story.* FROM story_of(%s) AS story) AS s
            ), '[]'))
        FROM reservation_of(%s) AS r (id)
        """,
        [known_id, known_id],
    )
