"""Who changed a booking, from where and why."""

from typing import Any
from uuid import UUID

from database.audit import list_audit
from domain.refusals import UnknownBooking
from functions.admin.connections import admin_database


def show_audit(booking_id: UUID) -> dict[str, Any]:
    """`{"entries"}`, oldest first, of the hold and the payment too; of a booking that is no more as well.

    Raises `UnknownBooking`.
    """
    entries = admin_database().run(lambda conn: list_audit(conn, booking_id))
    if not entries:
        raise UnknownBooking
    return {"entries": entries}
