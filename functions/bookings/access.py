"""Who may see and change a booking: whoever has its reservation's token, its owner, and administrators."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from database import bookings
from domain.identity import Caller, Role
from domain.limits import comes_from
from domain.refusals import UnknownBooking
from domain.reservation import token_matches
from functions.bookings.connections import Settings, bookings_database
from runtime.auth import signed_in_at_all
from runtime.http import HttpFunction, parsed_id
from runtime.observability import identify
from runtime.settings import accepted, load


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who calls, by the reservation's token and the sign-in that they sent."""

    token: str | None
    caller: Caller | None

    def has_token_of(self, reservation_id: str) -> bool:
        """Whether the token that was sent is this reservation's."""
        return bool(self.token) and any(
            token_matches(reservation_id, self.token or "", secret)
            for secret in accepted(load(Settings), "token_secret")
        )

    def may_see(self, reservation_id: str, user_id: str | None) -> bool:
        """Whether a booking of this reservation, made by this user (None: by nobody signed in), is theirs to see."""
        if self.has_token_of(reservation_id):
            return True
        return self.caller is not None and (self.caller.role is Role.ADMIN or self.caller.user_id == user_id)


def visitor(app: HttpFunction) -> Visitor:
    """Who calls; a sign-in that is sent has to be valid, whatever the token. Raises as `signed_in`."""
    token = app.header("x-reservation-token")
    if token:
        comes_from(token)
    return Visitor(token, signed_in_at_all(app.current_event))


def acting(app: HttpFunction, who: Visitor, reason: str) -> dict[str, str | None]:
    """The visitor for the audit: an administrator or a customer, by their user id where they are signed in."""
    kind = "admin" if who.caller and who.caller.role is Role.ADMIN else "customer"
    return {**app.actor(kind, reason), "actor_id": who.caller.user_id if who.caller else None}


def booking_seen_by(who: Visitor, booking_id: str) -> tuple[UUID, Mapping[str, Any]]:
    """The booking of this id, and its answer; raises `UnknownBooking` where there is none that the visitor may see."""
    known = parsed_id(booking_id, UnknownBooking)
    if who.token is None and who.caller is None:
        raise UnknownBooking
    found = bookings_database().run(lambda conn: bookings.fetch_booking(conn, known))
    if found is None or not who.may_see(found["reservation_id"], found["user_id"]):
        raise UnknownBooking
    identify(reservation_id=found["reservation_id"], booking_id=str(known))
    return known, found["answer"]
