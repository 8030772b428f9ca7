"""Every refusal as an HTTP answer: `application/problem+json` (RFC 9457), in one table."""

import json
from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools.event_handler import Response

from domain import refusals
from domain.refusals import Refusal

STATUS: Mapping[type[Refusal], int] = {
    refusals.MalformedRequest: 400,
    refusals.InvalidIdempotencyKey: 400,
    refusals.InvalidSignature: 400,
    refusals.MalformedEvent: 400,
    refusals.Unauthenticated: 401,
    refusals.Forbidden: 403,
    refusals.Csrf: 403,
    refusals.NotFound: 404,
    refusals.UnknownSlot: 404,
    refusals.UnknownOffering: 404,
    refusals.UnknownReservation: 404,
    refusals.UnknownEvent: 404,
    refusals.UnknownBooking: 404,
    refusals.UnknownErrorGroup: 404,
    refusals.MethodNotAllowed: 405,
    refusals.SlotClosed: 409,
    refusals.SoldOut: 409,
    refusals.InsufficientCredits: 409,
    refusals.BelowSold: 409,
    refusals.OfferingHasSales: 409,
    refusals.RequestInProgress: 409,
    refusals.LockTimeout: 409,
    refusals.ReservationExpired: 409,
    refusals.ReservationCancelled: 409,
    refusals.AlreadyPaid: 409,
    refusals.NothingToPay: 409,
    refusals.NotOffered: 409,
    refusals.PaymentInProgress: 409,
    refusals.Disputed: 409,
    refusals.BookingNotActive: 409,
    refusals.VersionConflict: 412,
    refusals.BodyTooLarge: 413,
    refusals.UnsupportedMediaType: 415,
    refusals.InvalidRequest: 422,
    refusals.UnknownAddOn: 422,
    refusals.MixedCurrencies: 422,
    refusals.IdempotencyKeyReused: 422,
    refusals.AmountMismatch: 422,
    refusals.AmountNotChargeable: 422,
    refusals.RefundExceedsPaid: 422,
    refusals.PreconditionRequired: 428,
    refusals.TooManyHolds: 429,
    refusals.TooManyRequests: 429,
    refusals.EventNotApplied: 500,
    refusals.InternalError: 500,
    refusals.PaymentProviderUnavailable: 503,
    refusals.SignInUnavailable: 503,
    refusals.DatabaseUnavailable: 503,
}
UNPROCESSABLE = 422
# How long a caller who is told to come again should wait, in seconds, where the refusal does not say.
RETRY_AFTER: Mapping[type[Refusal], int] = {
    refusals.RequestInProgress: 1,
    refusals.LockTimeout: 1,
    refusals.TooManyHolds: 60,
    refusals.TooManyRequests: 60,
    refusals.PaymentProviderUnavailable: 3,
    refusals.SignInUnavailable: 5,
    refusals.DatabaseUnavailable: 5,
}


def problem_response(refusal: Refusal, request_id: str) -> Response[str]:
    """The refusal as its caller sees it."""
    kind = type(refusal)
    status = STATUS[kind]
    body: dict[str, Any] = {
        "type": f"/problems/{kind.slug()}",
        "title": kind.title(),
        "status": status,
        "detail": refusal.detail,
        "instance": request_id,
        **refusal.members,
    }
    if status == UNPROCESSABLE:
        # Where no single field is at fault it is the body as a whole, which is what an empty pointer means (RFC 6901).
        body["errors"] = refusal.errors or [{"pointer": "", "detail": refusal.detail}]
    headers: dict[str, str | list[str]] = {"X-Request-Id": request_id}
    retry_after = refusal.retry_after or RETRY_AFTER.get(kind)
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    if kind is refusals.Unauthenticated:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(refusal, refusals.MethodNotAllowed) and (allowed := refusal.members.get("allow")):
        headers["Allow"] = ", ".join(allowed)
    return Response(status, "application/problem+json", json.dumps(body), headers)
