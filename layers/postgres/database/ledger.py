"""A payment's refunds and disputes: read under the payment's lock, written in the same transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg import Cursor

from database.connection import Connection
from domain.ledger import Dispute, Ledger, Refund


def read_ledger(conn: Connection, payment_intent_id: str | None) -> Cursor[tuple[Any, ...]]:
    """Sends: the payment's refunds and disputes, after its lock in the same batch."""
    return conn.execute("SELECT payment_ledger(%s)", [payment_intent_id])


def ledger_of(row: Mapping[str, Any]) -> Ledger:
    """The ledger in what `read_ledger` has read."""
    return Ledger(
        payment_id=row["payment_id"],
        currency=row["currency"],
        captured_amount=row["captured_amount"],
        booking_status=row["booking_status"],
        refunds=tuple(_refund(refund) for refund in row["refunds"]),
        disputes=tuple(_dispute(dispute) for dispute in row["disputes"]),
    )


def save_ledger(conn: Connection, before: Ledger, after: Ledger) -> None:
    """Sends what has changed: disputes, then refunds (first those that make room), then payment and booking."""
    if before == after:
        return
    for dispute in after.disputes:
        if dispute not in before.disputes:
            _save_dispute(conn, after.payment_id, dispute)
    due_before = {refund.id: refund.due_amount for refund in before.refunds}
    changed = [refund for refund in after.refunds if refund not in before.refunds]
    for refund in sorted(changed, key=lambda refund: refund.due_amount - due_before.get(refund.id, 0)):
        _save_refund(conn, after.payment_id, refund)
    conn.execute("SELECT settle_ledger(%s, %s)", [after.payment_id, after.booking_status])


def _save_dispute(conn: Connection, payment_id: str, dispute: Dispute) -> None:
    conn.execute(
        "SELECT save_dispute(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            dispute.id,
            dispute.stripe_dispute_id,
            payment_id,
            dispute.status,
            dispute.status_at,
            dispute.standing,
            dispute.amount,
            dispute.currency,
            dispute.withdrawn_amount,
            dispute.reinstated_amount,
        ],
    )


def _save_refund(conn: Connection, payment_id: str, refund: Refund) -> None:
    conn.execute(
        "SELECT save_refund(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            refund.id,
            payment_id,
            refund.amount,
            refund.wanted_amount,
            refund.reason,
            refund.status,
            refund.stripe_refund_id,
            list(refund.failed_stripe_refund_ids),
            refund.key_number,
            refund.superseded_by,
        ],
    )


def _refund(row: Mapping[str, Any]) -> Refund:
    return Refund(
        id=row["id"],
        amount=row["amount"],
        reason=row["reason"],
        status=row["status"],
        wanted_amount=row["wanted_amount"],
        stripe_refund_id=row["stripe_refund_id"],
        failed_stripe_refund_ids=tuple(row["failed_stripe_refund_ids"]),
        key_number=row["key_number"],
        superseded_by=row["superseded_by"],
    )


def _dispute(row: Mapping[str, Any]) -> Dispute:
    return Dispute(
        id=row["id"],
        stripe_dispute_id=row["stripe_dispute_id"],
        status=row["status"],
        status_at=datetime.fromisoformat(row["status_at"]),
        amount=row["amount"],
        currency=row["currency"],
        withdrawn_amount=row["withdrawn_amount"],
        reinstated_amount=row["reinstated_amount"],
    )
