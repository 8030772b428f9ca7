"""Expiry: unpaid holds in bulk; holds with a payment only once Stripe has closed it; credits when their time is over."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

from database import holds
from database.connection import Connection, Context, Database
from database.credits import expire_credits
from database.jobs import finish_job, forget_old_idempotency_keys, forget_old_rate_limits
from database.payments import claim_payments_to_close
from payments.closing import CLOSE_LEASE, Closed, close_payment
from payments.defects import report_defect
from runtime.jobs import Budget
from runtime.observability import count, logger
from runtime.outbox_kick import kick_outbox
from runtime.settings import PaymentSettings, credential, load
from stripe_gateway.gateway import StripeGateway

UNPAID_BATCH = 500
GRANTS_BATCH = 500
# As many as are asked about at once, so that a lease starts when its work does.
PAID_BATCH = 8


@cache
def _database() -> Database:
    return Database(credential(PaymentSettings, "database_url"))


@cache
def _gateway() -> StripeGateway:
    return StripeGateway(
        credential(PaymentSettings, "stripe_secret_key"), load(PaymentSettings).stripe_api_base
    )


def clean_up(request_id: str, budget: Budget) -> dict[str, Any]:
    """Ends what is over: `{"released", "confirmed", "kept", "failed", "credits_expired", "more"}`.

    Safe to run twice at once and to be killed anywhere: each hold is ended once, by whoever has its lease.
    """
    started_at = datetime.now(UTC)
    result = {"released": 0, "confirmed": 0, "kept": 0, "failed": 0, "credits_expired": 0, "more": False}
    while (released := _release_unpaid(request_id)) and not budget.is_spent:
        result["released"] += released
        if released < UNPAID_BATCH:
            break
    while not budget.is_spent and (payments := _claim()):
        _close_all(payments, request_id, result)
    while not budget.is_spent and (expired := _expire_credits(request_id)):
        result["credits_expired"] += expired
    result["more"] = budget.is_spent
    _database().run(lambda conn: _finish(conn, request_id, started_at, result))
    return result


def _release_unpaid(request_id: str) -> int:
    context = _context(request_id)
    return _database().run(lambda conn: holds.release_expired(conn, limit=UNPAID_BATCH, context=context))


def _expire_credits(request_id: str) -> int:
    context = _context(request_id)
    return _database().run(lambda conn: expire_credits(conn, limit=GRANTS_BATCH, context=context))


def _claim() -> list[dict[str, Any]]:
    return _database().run(lambda conn: claim_payments_to_close(conn, limit=PAID_BATCH, lease=CLOSE_LEASE))


def _close_all(payments: list[dict[str, Any]], request_id: str, result: dict[str, Any]) -> None:
    with ThreadPoolExecutor(max_workers=PAID_BATCH) as pool:
        for payment, closed in zip(
            payments, pool.map(partial(_close, request_id=request_id), payments), strict=True
        ):
            match closed:
                case Closed.RELEASED:
                    result["released"] += 1
                case Closed.CONFIRMED:
                    result["confirmed"] += 1
                case Closed.REFUNDED:
                    result["confirmed"] += 1
                    kick_outbox(load(PaymentSettings).deliver_outbox_function)
                case Closed.KEPT | Closed.UNANSWERED | Closed.DETACHED:
                    result["kept"] += 1
                    if payment["past_ceiling"]:
                        count("HoldPastCeiling")
                case None:
                    result["failed"] += 1


def _close(payment: dict[str, Any], request_id: str) -> Closed | None:
    """None: it failed, alone; its lease ends by itself and the next run takes it up."""
    try:
        return close_payment(_database(), _gateway(), payment, _context(request_id))
    except Exception as failure:  # noqa: BLE001 - one hold must not keep the others from their end
        logger.exception(
            "a hold could not be ended",
            extra={"payment_id": payment["id"], "reservation_id": payment["reservation_id"]},
        )
        report_defect(failure)
        return None


def _context(request_id: str) -> Context:
    return {
        "actor": "system",
        "actor_id": "reservation-cleanup",
        "reason": "expired",
        "request_id": request_id,
    }


def _finish(conn: Connection, request_id: str, started_at: datetime, result: dict[str, Any]) -> None:
    with conn.pipeline():
        forget_old_idempotency_keys(conn)
        forget_old_rate_limits(conn)
        finish_job(conn, "reservation-cleanup", request_id=request_id, started_at=started_at, result=result)
