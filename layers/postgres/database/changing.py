"""Changing a booking: cancelling it, moving it, giving money back. Each is one call, one round trip, one commit."""

from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from database.connection import Connection, Context, call
from domain.booking import CancelPolicy
from domain.currencies import chargeable_limits


def cancel_booking(
    conn: Connection,
    booking_id: UUID,
    *,
    change_id: UUID,
    version: int,
    policy: CancelPolicy,
    context: Context,
) -> dict[str, Any]:
    """Ends the booking as it stands at `version`. Answers as the SQL function of the same name says."""
    return call(
        conn,
        "SELECT cancel_booking(%s, %s, %s, %s, %s)",
        [booking_id, change_id, version, Jsonb(policy), Jsonb(chargeable_limits())],
        context=context,
    )


def reschedule_booking(
    conn: Connection,
    booking_id: UUID,
    *,
    change_id: UUID,
    version: int,
    item_id: UUID | None,
    slot_id: UUID,
    policy: CancelPolicy,
    context: Context,
) -> dict[str, Any]:
    """Moves a line of the booking to another slot. Answers as the SQL function of the same name says."""
    return call(
        conn,
        "SELECT reschedule_booking(%s, %s, %s, %s, %s, %s)",
        [booking_id, change_id, version, item_id, slot_id, Jsonb(policy)],
        context=context,
    )


def refund_booking(
    conn: Connection,
    booking_id: UUID,
    *,
    refund_id: UUID,
    amount: int | None,
    reason: str,
    caller: str,
    key: str | None,
    request_hash: str | None,
    context: Context,
) -> dict[str, Any]:
    """Asks for a refund of the booking's payment. Answers as the SQL function of the same name says."""
    return call(
        conn,
        "SELECT refund_booking(%s, %s, %s, %s, %s, %s, %s, %s)",
        [booking_id, refund_id, amount, reason, Jsonb(chargeable_limits()), caller, key, request_hash],
        context=context,
    )
