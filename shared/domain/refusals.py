"""What a caller can be refused, in the caller's terms.

The docstring of a refusal is its title; its slug, the tail of the problem's `type`, is its name.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any


class Refusal(Exception):
    """The request cannot be done."""

    def __init__(
        self,
        detail: str | None = None,
        *,
        retry_after: int | None = None,
        errors: Iterable[Mapping[str, str]] = (),
        **members: Any,
    ) -> None:
        super().__init__(detail or self.title())
        self.detail = detail or self.title()
        self.retry_after = retry_after
        self.errors = list(errors)
        self.members = members

    @classmethod
    def slug(cls) -> str:
        """`ReservationExpired` -> `reservation-expired`."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", cls.__name__).lower()

    @classmethod
    def title(cls) -> str:
        """The first line of the docstring, without its full stop."""
        return (cls.__doc__ or "").splitlines()[0].rstrip(".")


class MalformedRequest(Refusal):
    """The request body is not JSON in UTF-8."""


class InvalidIdempotencyKey(Refusal):
    """The idempotency key cannot be used."""


class InvalidSignature(Refusal):
    """The signature of the webhook is missing, wrong, too old or too new."""


class MalformedEvent(Refusal):
    """The signed payload is not a Stripe event."""


class InvalidRequest(Refusal):
    """The request has fields that cannot be accepted."""


class Unauthenticated(Refusal):
    """Sign in first."""


class Forbidden(Refusal):
    """The caller's role does not allow this."""


class Csrf(Refusal):
    """The session's CSRF token is missing or wrong."""


class NotFound(Refusal):
    """There is nothing here."""


class MethodNotAllowed(Refusal):
    """This path does not take that method."""


class BodyTooLarge(Refusal):
    """The request body is larger than this function takes."""


class UnsupportedMediaType(Refusal):
    """The request body must be application/json."""


class UnknownSlot(Refusal):
    """No such slot."""


class UnknownOffering(Refusal):
    """No such offering."""


class UnknownReservation(Refusal):
    """No such reservation."""


class UnknownBooking(Refusal):
    """No such booking."""


class UnknownEvent(Refusal):
    """No such event of Stripe's has come."""


class UnknownErrorGroup(Refusal):
    """No such error was reported."""


class UnknownAddOn(Refusal):
    """The slot's offering has no such add-on."""


class SlotClosed(Refusal):
    """The slot is not on sale."""


class SoldOut(Refusal):
    """There is not enough left."""


class InsufficientCredits(Refusal):
    """There are not enough credits."""


class BelowSold(Refusal):
    """More than that is held and sold already."""


class OfferingHasSales(Refusal):
    """What has been held or sold keeps its kind and its currency."""


class MixedCurrencies(Refusal):
    """One reservation cannot mix currencies."""


class TooManyHolds(Refusal):
    """This customer has as many active holds, and bookings to be paid on arrival, as one may have."""


class PreconditionRequired(Refusal):
    """Say which version this changes: send its ETag as If-Match."""


class VersionConflict(Refusal):
    """Somebody has changed this meanwhile."""


class IdempotencyKeyReused(Refusal):
    """The idempotency key was used for another request."""


class RequestInProgress(Refusal):
    """The same request is still being worked on."""


class LockTimeout(Refusal):
    """Somebody else is working on this; try again."""


class ReservationExpired(Refusal):
    """The reservation has expired."""


class ReservationCancelled(Refusal):
    """The reservation was cancelled."""


class AlreadyPaid(Refusal):
    """The reservation is paid already."""


class NotOffered(Refusal):
    """This is not offered for the reservation."""


class NothingToPay(Refusal):
    """The reservation costs nothing: book it."""


class AmountMismatch(Refusal):
    """The amount or currency is not what the caller expects."""


class AmountNotChargeable(Refusal):
    """The amount cannot be charged in this currency."""


class PaymentInProgress(Refusal):
    """A payment in the other mode is open for this reservation."""


class Disputed(Refusal):
    """The payment is disputed: the customer's bank decides."""


class BookingNotActive(Refusal):
    """The booking has ended."""


class RefundExceedsPaid(Refusal):
    """There is not as much left to refund."""


class PaymentProviderUnavailable(Refusal):
    """The payment provider does not answer; nothing is lost, try again."""


class SignInUnavailable(Refusal):
    """The keys that sign-ins are verified with cannot be fetched; try again."""


class DatabaseUnavailable(Refusal):
    """The database cannot be reached; nothing was done, try again."""


class TooManyRequests(Refusal):
    """Too many requests; come again later."""


class EventNotApplied(Refusal):
    """The event could not be applied now; it is kept, and done when it comes again."""


class InternalError(Refusal):
    """Something went wrong on our side."""


BY_SLUG: Mapping[str, type[Refusal]] = {refusal.slug(): refusal for refusal in Refusal.__subclasses__()}
