"""Idempotency keys as Stripe has them: https://docs.stripe.com/api/idempotent_requests.

One namespace an account, 24 hours. The result of a request is kept once its endpoint has begun, whatever it
was, 500s included; a refusal before that (429, failed validation, a conflict) is not, and may be tried again.
"""

import json
from dataclasses import dataclass

from local.stripe_emulator.account import Account
from local.stripe_emulator.errors import idempotency_key_in_use, idempotency_mismatch, invalid_parameter
from local.stripe_emulator.form import Form

_KEPT_S = 24 * 60 * 60
_LONGEST_KEY = 255


@dataclass(frozen=True)
class Kept:
    """The result of the first request under a key, byte for byte."""

    status: int
    body: str
    request_id: str


@dataclass(frozen=True)
class Request:
    """What makes two requests the same: path and parameters."""

    key: str
    path: str
    parameters: str


def request_under(key: str, path: str, parameters: Form) -> Request:
    """The request that a key is used for. Raises StripeError for a key longer than 255 characters."""
    if len(key) > _LONGEST_KEY:
        raise invalid_parameter(f"Idempotency keys have at most {_LONGEST_KEY} characters.")
    return Request(key, path, json.dumps(parameters, sort_keys=True))


class InFlight:
    """The requests under a key that have begun and not ended; a killed process has none, which is right."""

    def __init__(self) -> None:
        self._requests: dict[str, Request] = {}

    def begin(self, account: Account, request: Request) -> Kept | None:
        """Claim the key, or answer what is kept under it.

        Raises StripeError: 400 for other parameters or another path, 409 while the first request runs.
        """
        running = self._requests.get(request.key)
        if running is not None:
            _refuse_other(request, running.path, running.parameters)
            raise idempotency_key_in_use(request.key)
        row = account.storage.execute(
            "SELECT path, parameters, status, body, request_id FROM idempotency_keys"
            " WHERE key = ? AND created > ?",
            (request.key, account.clock() - _KEPT_S),
        ).fetchone()
        if row is not None:
            _refuse_other(request, row[0], row[1])
            return Kept(*row[2:])
        self._requests[request.key] = request
        return None

    def end(self, request: Request) -> None:
        """Let the key go."""
        del self._requests[request.key]


def keep(account: Account, request: Request, kept: Kept) -> None:
    """Keep a result, in the transaction that causes it; one whose 24 hours are over is replaced."""
    account.storage.execute(
        "INSERT OR REPLACE INTO idempotency_keys (key, created, path, parameters, status, body, request_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            request.key,
            account.clock(),
            request.path,
            request.parameters,
            kept.status,
            kept.body,
            kept.request_id,
        ),
    )


def _refuse_other(request: Request, path: str, parameters: str) -> None:
    if request.path != path:
        raise idempotency_mismatch(
            "Keys for idempotent requests can only be used for the same endpoint they were first used for "
            f"('{request.path}' vs '{path}'). Try using a key other than '{request.key}' if you meant to "
            "execute a different request."
        )
    if request.parameters != parameters:
        raise idempotency_mismatch(
            "Keys for idempotent requests can only be used with the same parameters they were first used "
            f"with. Try using a key other than '{request.key}' if you meant to execute a different request."
        )
