"""What leaves the house: refunds to Stripe, notifications to the site, issues to the tracker.

Written with their cause, delivered at least once.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Annotated, Any

import requests
from pydantic import Field, ValidationInfo, field_validator

from database import outbox
from database.connection import Context, Database
from database.jobs import finish_job
from domain.ledger import MoreThanCaptured
from domain.scrubbing import scrub
from functions.deliver_outbox.issues import hear_of_closed, send_issue
from functions.deliver_outbox.tracker import Tracker, TrackerBusy, TrackerFailed
from payments.defects import report_defect
from payments.ledger import enter_refunds
from runtime.jobs import Budget
from runtime.kill_points import kill_point
from runtime.observability import count, logger
from runtime.settings import StripeSettings, credential, load
from stripe_gateway.failures import StripeFailed, StripeRefused, StripeUnanswered
from stripe_gateway.gateway import StripeGateway

BATCH = 8
# Longer than a batch can last: every row of it is under way at once, and the slowest asks Stripe three times 8 s.
LEASE = timedelta(seconds=60)
MAX_ATTEMPTS = 12
NOTIFICATION_TIMEOUT_SECONDS = 5


class Settings(StripeSettings):
    """What `deliver-outbox` is told."""

    notification_webhook_url: str | None = None
    notification_secret: Annotated[str | None, Field(validate_default=True)] = None
    github_api_url: str = "https://api.github.com"
    github_repository: Annotated[str | None, Field(pattern=r"^[\w.-]+/[\w.-]+$")] = None
    github_token: str | None = None

    @field_validator("notification_secret")
    @classmethod
    def _signs_what_is_sent(cls, secret: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("notification_webhook_url") and not secret:
            raise ValueError("NOTIFICATION_WEBHOOK_URL needs it")
        return secret


class DeliveryFailed(Exception):
    """The effect did not happen, or nobody knows; it is tried again."""


class DeliveryRefused(Exception):
    """The effect will never happen."""


class NobodyToTell(Exception):
    """The settings name no receiver: an operator's choice, and nobody's failure."""


@cache
def _database() -> Database:
    return Database(credential(Settings, "database_url"))


@cache
def _gateway() -> StripeGateway:
    return StripeGateway(credential(Settings, "stripe_secret_key"), load(Settings).stripe_api_base)


def _tracker() -> Tracker | None:
    settings = load(Settings)
    if not settings.github_repository:
        return None
    return Tracker(settings.github_api_url, settings.github_repository, settings.github_token)


def deliver(request_id: str, budget: Budget) -> dict[str, Any]:
    """Delivers what is due: `{"delivered", "retried", "dead", "more"}`. Two runs at once share the work."""
    started_at = datetime.now(UTC)
    result = {"delivered": 0, "retried": 0, "dead": 0, "more": False}
    context = {"actor": "system", "actor_id": "deliver-outbox", "request_id": request_id}
    _deliver_due(budget, context, result)
    if not budget.is_spent and _heard_of_closed(request_id):
        _deliver_due(budget, context, result)
    result["more"] = budget.is_spent
    _database().run(
        lambda conn: finish_job(
            conn, "deliver-outbox", request_id=request_id, started_at=started_at, result=result
        )
    )
    return result


def _deliver_due(budget: Budget, context: Context, result: dict[str, Any]) -> None:
    while not budget.is_spent:
        rows = _database().run(
            lambda conn: outbox.claim_outbox(conn, limit=BATCH, lease=LEASE, context=context)
        )
        if not rows:
            break
        with ThreadPoolExecutor(max_workers=BATCH) as pool:
            for ended in pool.map(partial(_deliver_row, run_context=context), rows):
                if ended:
                    result[ended] += 1


def _heard_of_closed(request_id: str) -> bool:
    """Whether the tracker was asked what has been closed there; where it does not answer, the next run asks."""
    if not (tracker := _tracker()):
        return False
    try:
        hear_of_closed(_database(), tracker, request_id)
    except TrackerFailed as failure:
        logger.warning("the tracker did not say what was closed", extra={"error": str(failure)})
        return False
    return True


def _deliver_row(row: Mapping[str, Any], run_context: Context) -> str | None:
    """Which figure of the run it counts in; None: it is of nobody's interest."""
    # The story of what was delivered is that of the request that caused it.
    context = {**run_context, "request_id": row["request_id"] or run_context["request_id"]}
    try:
        if row["kind"] == "refund":
            _send_refund(row, context)
        elif row["kind"] == "error_issue":
            _send_issue(row)
        else:
            _send_notification(row)
            kill_point("outbox.after-notification")
            _database().run(
                lambda conn: outbox.settle_outbox(conn, row["id"], row["attempt"], status="delivered")
            )
    except NobodyToTell as absent:
        error = str(absent)
        _database().run(
            lambda conn: outbox.settle_outbox(conn, row["id"], row["attempt"], status="canceled", error=error)
        )
        return None
    except DeliveryRefused as failure:
        return _bury(row, str(failure), context)
    except Exception as failure:  # noqa: BLE001 - one row must not keep the others waiting
        error = scrub(f"{type(failure).__name__}: {failure}")[:500]
        logger.warning(
            "an outbox row was not delivered",
            extra={"outbox_id": row["id"], "kind": row["kind"], "error": error},
            exc_info=not isinstance(failure, DeliveryFailed | TrackerFailed),
        )
        if not isinstance(failure, DeliveryFailed | TrackerFailed | requests.RequestException):
            report_defect(failure)
        if row["attempt"] - row["payload"].get("attempts_before", 0) >= MAX_ATTEMPTS:
            return _bury(row, error, context)
        wait = timedelta(seconds=failure.wait_seconds) if isinstance(failure, TrackerBusy) else None
        _database().run(
            lambda conn: outbox.retry_outbox(conn, row["id"], row["attempt"], error=error, wait=wait)
        )
        return "retried"
    return "delivered"


def _bury(row: Mapping[str, Any], error: str, context: Context) -> str:
    """Gives a row up, where a person sees it."""
    count("OutboxDead")
    logger.error("an outbox row is dead", extra={"outbox_id": row["id"], "kind": row["kind"], "error": error})
    if row["kind"] == "refund":
        _database().run(
            lambda conn: outbox.bury_refund(conn, row["id"], row["attempt"], error=error, context=context)
        )
    else:
        _database().run(
            lambda conn: outbox.settle_outbox(conn, row["id"], row["attempt"], status="dead", error=error)
        )
    return "dead"


def _send_refund(row: Mapping[str, Any], context: Context) -> None:
    """The refund, made once: where an earlier try may have made it without our knowing, Stripe's list tells.

    The list and not the key, which Stripe forgets after 24 hours.
    """
    refund = row["refund"]
    context = {**context, "reason": refund["reason"]}
    intent, key = refund["payment_intent_id"], f"refund:{refund['id']}:{refund['key_number']}"
    try:
        asked_before = refund["key_number"] > 1 or refund["age_seconds"] > 0
        if asked_before and not _waits(row, context):
            return
        if row["attempt"] > MAX_ATTEMPTS:
            raise DeliveryRefused("stripe has made the refund, and it has failed, again and again")
        made = _gateway().refund(intent, refund["amount"], refund["id"], refund["request_id"], key)
        kill_point("outbox.after-refund")
        ledger = enter_refunds(_database(), intent, [made], context)
    except (StripeRefused, StripeFailed, MoreThanCaptured) as failure:
        # Stripe gives this answer under this key for a day. Unless the refund was made after all, or there is nothing
        # left to refund, the next try has a key of its own.
        if not _waits(row, context):
            return
        _database().run(
            lambda conn: outbox.take_next_refund_key(conn, row["id"], row["attempt"], context=context)
        )
        raise DeliveryFailed(f"stripe did not make the refund: {failure or 'it failed'}") from failure
    except StripeUnanswered as failure:
        raise DeliveryFailed("stripe did not say whether the refund was made") from failure
    if refund["id"] in ledger.to_send:
        raise DeliveryFailed("stripe's refund failed")
    count("RefundSent")


def _waits(row: Mapping[str, Any], context: Context) -> bool:
    """Whether the refund has still to be made, when all is known that Stripe lists for its payment."""
    refund = row["refund"]
    intent = refund["payment_intent_id"]
    ledger = enter_refunds(_database(), intent, _gateway().list_refunds(intent), context)
    return refund["id"] in ledger.to_send


def _send_issue(row: Mapping[str, Any]) -> None:
    tracker = _tracker()
    if tracker is None:
        raise NobodyToTell("GITHUB_REPOSITORY is not set")
    send_issue(_database(), tracker, row, load(Settings).environment)


def _send_notification(row: Mapping[str, Any]) -> None:
    """POSTs the notification, signed as `t=<seconds>,v1=<HMAC-SHA256 of "<t>.<body>">`, under a stable delivery id."""
    settings = load(Settings)
    if not settings.notification_webhook_url:
        raise NobodyToTell("NOTIFICATION_WEBHOOK_URL is not set")
    # The request that it follows from, for whoever looks for the rest of the story.
    request_id = row["request_id"] or ""
    body = json.dumps(
        {"id": row["id"], "created_at": row["created_at"], "request_id": request_id, **row["payload"]}
    )
    stamp = int(time.time())
    signature = hmac.new(
        (settings.notification_secret or "").encode(), f"{stamp}.{body}".encode(), hashlib.sha256
    )
    headers = {
        "Content-Type": "application/json",
        "Holdfast-Delivery": row["id"],
        "Holdfast-Signature": f"t={stamp},v1={signature.hexdigest()}",
        "X-Request-Id": request_id,
    }
    # Only the status counts. The body is not waited for: it could take any time, a byte before each timeout.
    with requests.post(
        settings.notification_webhook_url,
        data=body.encode(),
        headers=headers,
        timeout=NOTIFICATION_TIMEOUT_SECONDS,
        allow_redirects=False,
        stream=True,
    ) as answer:
        if not answer.ok or answer.is_redirect:
            raise DeliveryFailed(f"the receiver answered {answer.status_code}")
