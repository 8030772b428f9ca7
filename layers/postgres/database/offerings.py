"""What administrators do to the catalogue."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from database.connection import Connection, Context, call


def fetch_offering(conn: Connection, slug: str) -> dict[str, Any] | None:
    """The offering as those see it who change it, retired or not."""
    return call(conn, "SELECT offering_answer(%s)", [slug])


def put_offering(
    conn: Connection, slug: str, offering: Mapping[str, Any], *, version: int | None, context: Context
) -> dict[str, Any]:
    """Creates or changes an offering. Answers `{"outcome": ...}` as the SQL function of the same name says."""
    return call(
        conn,
        "SELECT put_offering(%s, %s, %s, %s)",
        [slug, Jsonb(offering), version, context["request_id"]],
        context=context,
    )


def delete_offering(conn: Connection, slug: str, *, version: int | None, context: Context) -> dict[str, Any]:
    """Deletes or retires an offering. Answers `{"outcome": ...}` as the SQL function of the same name says."""
    return call(conn, "SELECT delete_offering(%s, %s)", [slug, version], context=context)


def set_slot_capacity(
    conn: Connection, slot_id: UUID, *, max_bookings: int, max_units: int, context: Context
) -> dict[str, Any]:
    """Changes how much a slot has. Answers `{"outcome": ...}` as the SQL function of the same name says."""
    return call(
        conn, "SELECT set_slot_capacity(%s, %s, %s)", [slot_id, max_bookings, max_units], context=context
    )
