"""Changing a booking: cancelling it, moving it to another slot, giving money back."""

import hashlib
import json
import time
from typing import Any
from uuid import UUID, uuid4

from database import changing
from database.connection import Context
from domain.refusals import BY_SLUG
from functions.bookings.connections import Settings, bookings_database
from functions.bookings.requests import RefundRequest, RescheduleRequest
from runtime.kill_points import kill_point
from runtime.observability import count, identify
from runtime.outbox_kick import kick_outbox
from runtime.settings import load

# Dead holds that another call has in its hands are back as soon as its transaction ends.
RETURNING_SECONDS = (0.02, 0.05, 0.1)


def cancel(booking_id: UUID, version: int, context: Context) -> dict[str, Any]:
    """The booking, cancelled, with `refund` or `returned_credits` where something goes back.

    Raises `VersionConflict`, `Disputed`, `BookingNotActive`.
    """
    change_id = uuid4()
    outcome = bookings_database().run(
        lambda conn: changing.cancel_booking(
            conn,
            booking_id,
            change_id=change_id,
            version=version,
            policy=load(Settings).cancel_policy,
            context=context,
        )
    )
    if outcome["outcome"] != "cancelled":
        raise _refusal(outcome)
    count("BookingCancelled")
    if "refund" in outcome["answer"]:
        _send_refund()
    return outcome["answer"]


def reschedule(
    booking_id: UUID, version: int, request: RescheduleRequest, context: Context
) -> dict[str, Any]:
    """The booking, one of its lines on another slot of the same offering, at the price that was paid.

    Raises `VersionConflict`, `SoldOut`, `SlotClosed`, `UnknownSlot`, `NotOffered` (another offering's slot),
    `InvalidRequest` (which line?), `Disputed`, `BookingNotActive`.
    """
    outcome = _move(booking_id, version, request, context)
    for pause in RETURNING_SECONDS:
        if not outcome.get("returning"):
            break
        time.sleep(pause)
        outcome = _move(booking_id, version, request, context)
    if outcome["outcome"] != "rescheduled":
        raise _refusal(outcome)
    count("BookingRescheduled")
    return outcome["answer"]


def _move(booking_id: UUID, version: int, request: RescheduleRequest, context: Context) -> dict[str, Any]:
    change_id = uuid4()
    return bookings_database().run(
        lambda conn: changing.reschedule_booking(
            conn,
            booking_id,
            change_id=change_id,
            version=version,
            item_id=request.item_id,
            slot_id=request.slot_id,
            policy=load(Settings).cancel_policy,
            context=context,
        )
    )


def refund(
    booking_id: UUID, request: RefundRequest, admin_id: str, key: str | None, context: Context
) -> tuple[dict[str, Any], bool]:
    """The refund that is asked for, of all that is left unless an amount is named, and whether this is a replay.

    Raises `RefundExceedsPaid`, `Disputed`, `UnknownBooking`, `InvalidRequest` (an amount that the currency does not have).
    """
    refund_id = uuid4()
    outcome = bookings_database().run(
        lambda conn: changing.refund_booking(
            conn,
            booking_id,
            refund_id=refund_id,
            amount=request.amount,
            reason=context["reason"] or "",
            caller=admin_id,
            key=key,
            request_hash=hashlib.sha256(request.model_dump_json().encode()).hexdigest(),
            context=context,
        )
    )
    if outcome["outcome"] not in ("requested", "replayed"):
        raise _refusal(outcome)
    answer = json.loads(outcome["answer"])
    identify(refund_id=answer["id"])
    replayed = answer["id"] != str(refund_id)
    count("RefundReplayed" if replayed else "RefundRequested")
    if not replayed:
        _send_refund()
    return answer, replayed


def _send_refund() -> None:
    kill_point("change.committed")
    kick_outbox(load(Settings).deliver_outbox_function)


def _refusal(outcome: dict[str, Any]) -> Exception:
    members = {name: outcome[name] for name in ("version", "left", "errors") if name in outcome}
    return BY_SLUG[outcome["outcome"]](**members)
