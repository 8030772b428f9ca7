"""Booking a hold without a payment, and showing bookings."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from database import bookings
from database.connection import Context
from domain import refusals
from domain.refusals import BY_SLUG
from functions.bookings.access import Visitor
from functions.bookings.connections import Settings, bookings_database, bookings_gateway
from functions.bookings.requests import BookingRequest, BookingsQuery
from payments.closing import CLOSE_LEASE, Closed, close_payment
from runtime.cursors import cursor_of, parsed_cursor
from runtime.kill_points import kill_point
from runtime.observability import count, identify
from runtime.outbox_kick import kick_outbox
from runtime.settings import load

# Once for the payment that is open, and once more for one that another tab opens just after it was closed.
CLOSES = 2
CREATED = 201


@dataclass(frozen=True, slots=True)
class Booked:
    """An answer's status and JSON text, the booking's version in it, and whether it was given before."""

    status: int
    body: str
    version: int
    replayed: bool


def book(request: BookingRequest, who: Visitor, key: str | None, context: Context) -> Booked:
    """Books the hold by other means than a payment; one that is open is closed at Stripe first.

    Raises `AlreadyPaid` where that one has been paid meanwhile, `PaymentProviderUnavailable` while Stripe does not say.
    """
    reservation_id = str(request.reservation_id)
    if not who.has_token_of(reservation_id):
        raise refusals.UnknownReservation
    if request.payment_method == "credits" and who.caller is None:
        raise refusals.Unauthenticated
    identify(reservation_id=reservation_id)
    booking_id = uuid4()
    outcome = _book(booking_id, request, who, key, context)
    for _ in range(CLOSES):
        if outcome["outcome"] != "close":
            break
        _close(outcome["payment"], context)
        kill_point("book.payment-closed")
        outcome = _book(booking_id, request, who, key, context)
    match outcome["outcome"]:
        case "booked" | "replayed":
            answer = json.loads(outcome["answer"])
            replayed = outcome["outcome"] == "replayed" and answer["id"] != str(booking_id)
            identify(booking_id=answer["id"])
            count("BookingMade" if outcome["status"] == CREATED and not replayed else "BookingShownAgain")
            return Booked(outcome["status"], outcome["answer"], answer["version"], replayed)
        case "close":
            raise refusals.RequestInProgress
        case refused:
            raise BY_SLUG[refused]


def _book(
    booking_id: UUID, request: BookingRequest, who: Visitor, key: str | None, context: Context
) -> dict[str, Any]:
    return bookings_database().run(
        lambda conn: bookings.book_reservation(
            conn,
            booking_id=booking_id,
            reservation_id=request.reservation_id,
            payment_method=request.payment_method,
            user_id=who.caller.user_id if who.caller else None,
            lease=CLOSE_LEASE,
            key=key,
            request_hash=hashlib.sha256(request.model_dump_json().encode()).hexdigest(),
            context=context,
        )
    )


def _close(payment: dict[str, Any], context: Context) -> None:
    """What became of the payment shows in the hold; only what Stripe has not ended cannot be gone on from."""
    identify(payment_id=payment["id"])
    match close_payment(bookings_database(), bookings_gateway(), payment, context):
        case Closed.KEPT | Closed.UNANSWERED:
            raise refusals.PaymentProviderUnavailable(
                "The payment is not settled yet; ask again.", retry_after=30
            )
        case Closed.REFUNDED:
            kick_outbox(load(Settings).deliver_outbox_function)
        case Closed.DETACHED | Closed.RELEASED | Closed.CONFIRMED:
            pass


def list_bookings(query: BookingsQuery) -> dict[str, Any]:
    """A page of bookings and, where there are more, the cursor of the next."""
    found = bookings_database().run(
        lambda conn: bookings.list_bookings(
            conn,
            status=query.status,
            offering=query.offering,
            before=parsed_cursor(query.cursor, UUID) if query.cursor else None,
            limit=query.limit + 1,
        )
    )
    if found is None:
        raise refusals.UnknownOffering
    page = found[: query.limit]
    more = {"next": cursor_of(page[-1]["created_at"], page[-1]["id"])} if len(found) > query.limit else {}
    return {"bookings": page, **more}
