"""Payments: written before Stripe is asked, owned by lease, fenced by attempt."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from database.connection import Connection, Context, call


def begin_payment(
    conn: Connection,
    *,
    payment_id: UUID,
    reservation_id: UUID,
    mode: str,
    parameters: Mapping[str, Any],
    chargeable: Mapping[str, Sequence[int]],
    window: timedelta,
    lease: timedelta,
    expected_amount: int | None,
    expected_currency: str | None,
    key: str | None,
    request_hash: str | None,
    context: Context,
) -> dict[str, Any]:
    """The first step of paying. Answers `{"outcome": ...}` as the SQL function of the same name says."""
    return call(
        conn,
        "SELECT begin_payment(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            payment_id,
            reservation_id,
            mode,
            Jsonb(parameters),
            Jsonb(chargeable),
            window,
            lease,
            expected_amount,
            expected_currency,
            key,
            request_hash,
        ],
        context=context,
    )


def record_payment(
    conn: Connection,
    *,
    payment_id: str,
    attempt: int,
    payment_intent_id: str | None,
    checkout_session_id: str | None,
    status: str,
    key: str | None = None,
    key_attempt: int | None = None,
    key_status: int | None = None,
    answer: str | None = None,
    context: Context,
) -> str:
    """The last step of paying: `recorded`, `superseded`, or what became of the hold that does not want it any more."""
    return call(
        conn,
        "SELECT record_payment(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            payment_id,
            attempt,
            payment_intent_id,
            checkout_session_id,
            status,
            key,
            key_attempt,
            key_status,
            answer,
        ],
        context=context,
    )


def take_next_payment_key(conn: Connection, payment_id: str, attempt: int, *, context: Context) -> str | None:
    """The next key to ask Stripe under; None where the lease was lost."""
    return call(conn, "SELECT take_next_payment_key(%s, %s)", [payment_id, attempt], context=context)


def leave_payment_unknown(conn: Connection, payment_id: str, attempt: int, *, context: Context) -> None:
    """Ends the lease of a payment of which Stripe has not said what became of it."""
    call(conn, "SELECT leave_payment_unknown(%s, %s)", [payment_id, attempt], context=context)


def claim_payments_to_close(
    conn: Connection, *, limit: int, lease: timedelta, reservations: Sequence[UUID] | None = None
) -> list[dict[str, Any]]:
    """Leases of open payments whose hold is over; of these reservations alone where they are named."""
    rows = conn.execute(
        "SELECT * FROM claim_payments_to_close(%s, %s, %s)",
        [limit, lease, None if reservations is None else list(reservations)],
    )
    return [row[0] for row in rows]


def finish_close(conn: Connection, payment_id: str, attempt: int, *, context: Context) -> str | None:
    """Stripe has closed the payment: what became of the hold, or None where the lease was lost."""
    return call(conn, "SELECT finish_close(%s, %s)", [payment_id, attempt], context=context)


def keep_payment(
    conn: Connection,
    payment_id: str,
    attempt: int,
    *,
    awaits_funds: bool,
    wait: timedelta,
    funds: timedelta,
    context: Context,
) -> None:
    """Stripe has not settled the payment: the hold keeps its seats, and nobody asks again before `wait` is over.

    Where money is on its way, it has until `funds` after that was first said.
    """
    call(
        conn,
        "SELECT keep_payment(%s, %s, %s, %s, %s)",
        [payment_id, attempt, awaits_funds, wait, funds],
        context=context,
    )
