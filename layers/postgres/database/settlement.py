"""The effects of a payment fact. Each sends one statement into the open batch and answers nothing."""

from datetime import datetime, timedelta
from typing import Any

from psycopg import Cursor

from database.connection import Connection


def lock_payment(
    conn: Connection,
    *,
    payment_intent_id: str | None,
    checkout_session_id: str | None,
    payment_id: str | None,
) -> Cursor[tuple[Any, ...]]:
    """Sends: lock the payment and its hold, and read what the rules need."""
    return conn.execute(
        "SELECT lock_payment(%s, %s, %s)", [payment_intent_id, checkout_session_id, payment_id]
    )


def record_facts(
    conn: Connection,
    payment_id: str,
    *,
    payment_intent_id: str | None,
    checkout_session_id: str | None,
    captured_amount: int,
    awaits_funds: bool,
    status: str,
    seen_at: datetime,
    funds: timedelta,
) -> None:
    """What Stripe has said, onto the payment's row: facts grow, the status is for display.

    The hold of money that is on its way waits for it as long as `funds`.
    """
    conn.execute(
        "SELECT record_facts(%s, %s, %s, %s, %s, %s, %s, %s)",
        [
            payment_id,
            payment_intent_id,
            checkout_session_id,
            captured_amount,
            awaits_funds,
            status,
            seen_at,
            funds,
        ],
    )


def confirm_hold(conn: Connection, reservation_id: str, payment_id: str) -> None:
    """The hold becomes a booking, paid by this payment."""
    conn.execute("SELECT confirm_hold(%s, %s)", [reservation_id, payment_id])


def seat_again_or_refund(conn: Connection, reservation_id: str, payment_id: str) -> None:
    """Late money: the same seats again, all of them, or a refund."""
    conn.execute("SELECT seat_again_or_refund(%s, %s)", [reservation_id, payment_id])


def release_and_refund(conn: Connection, reservation_id: str, payment_id: str, reason: str) -> None:
    """The hold's seats and the money go back."""
    conn.execute("SELECT release_and_refund(%s, %s, %s)", [reservation_id, payment_id, reason])


def refund_payment(conn: Connection, payment_id: str, reason: str) -> None:
    """All of the captured amount goes back."""
    conn.execute("SELECT refund_payment(%s, %s)", [payment_id, reason])


def cancel_payment(conn: Connection, payment_id: str) -> None:
    """Nothing can be paid any more; a hold that waited for this, or is over, gives its seats back."""
    conn.execute("SELECT cancel_payment(%s)", [payment_id])
