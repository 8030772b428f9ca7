"""Stripe's error shapes: https://docs.stripe.com/api/errors."""

from typing import Any


class StripeError(Exception):
    """A refusal with Stripe's status and error object; nothing that the request began is kept.

    `executed` says whether the endpoint had begun: only then is the result stored under the idempotency key.
    """

    def __init__(self, status: int, error: dict[str, Any], *, executed: bool) -> None:
        super().__init__(error["message"])
        self.status = status
        self.error = error
        self.executed = executed


def error_object(
    kind: str, message: str, *, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """An error object of type `kind`; what does not apply is left out, as Stripe does."""
    error: dict[str, Any] = {"message": message, "type": kind}
    if code is not None:
        error["code"] = code
        error["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"
    if param is not None:
        error["param"] = param
    return error


def invalid_parameter(message: str, *, code: str | None = None, param: str | None = None) -> StripeError:
    """400 for a parameter that fails validation, before the endpoint begins."""
    error = error_object("invalid_request_error", message, code=code, param=param)
    return StripeError(400, error, executed=False)


def unknown_parameter(param: str) -> StripeError:
    """400 for a parameter that the endpoint does not have."""
    return invalid_parameter(f"Received unknown parameter: {param}", code="parameter_unknown", param=param)


def missing_parameter(param: str) -> StripeError:
    """400 for a required parameter that is not there."""
    return invalid_parameter(f"Missing required param: {param}.", code="parameter_missing", param=param)


def refused(
    message: str, *, code: str | None = None, param: str | None = None, **objects: dict[str, Any]
) -> StripeError:
    """400 for what the object's state does not allow; `objects` are embedded, as in `payment_intent=...`."""
    error = error_object("invalid_request_error", message, code=code, param=param) | objects
    return StripeError(400, error, executed=True)


def no_such(kind: str, object_id: str, *, param: str, status: int = 404) -> StripeError:
    """404 for an id that names nothing; 400 where the id was a parameter and not in the path."""
    message = f"No such {kind}: '{object_id}'"
    error = error_object("invalid_request_error", message, code="resource_missing", param=param)
    return StripeError(status, error, executed=True)


def unauthorized(message: str, *, code: str | None = None) -> StripeError:
    """401: the key is missing, wrong or not of the kind that the endpoint needs."""
    return StripeError(401, error_object("invalid_request_error", message, code=code), executed=False)


def unknown_url(method: str, path: str) -> StripeError:
    """404 for a path that the API does not have, or that the emulator does not serve."""
    message = f"Unrecognized request URL ({method}: {path}). The emulator serves no such endpoint."
    return StripeError(404, error_object("invalid_request_error", message), executed=False)


def idempotency_mismatch(message: str) -> StripeError:
    """400 `idempotency_error`: the key belongs to another request."""
    return StripeError(400, error_object("idempotency_error", message), executed=False)


def idempotency_key_in_use(key: str) -> StripeError:
    """409: the first request with this key has not ended yet."""
    message = (
        f"There is currently another in-progress request using this Idempotent Key ({key}). "
        "Wait for it to end, or use another key for another request."
    )
    error = error_object("invalid_request_error", message, code="idempotency_key_in_use")
    return StripeError(409, error, executed=False)


_BY_STATUS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request was refused."),
    401: ("invalid_request_error", None, "Invalid API Key provided."),
    402: ("card_error", "card_declined", "Your card was declined."),
    403: ("invalid_request_error", None, "The key has no permission to do this."),
    404: ("invalid_request_error", "resource_missing", "No such object."),
    409: ("invalid_request_error", "lock_timeout", "This object cannot be accessed right now, try again."),
    429: ("invalid_request_error", "rate_limit", "Request rate limit exceeded."),
}


def of_status(status: int) -> dict[str, Any]:
    """The error object that goes with a status which a fault rule asks for."""
    kind, code, message = _BY_STATUS.get(
        status,
        ("invalid_request_error", None, "The request was refused.")
        if status < 500
        else ("api_error", None, "An unknown error occurred."),
    )
    return error_object(kind, message, code=code)
