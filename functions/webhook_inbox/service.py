"""Events out of the queue, each by the same door as a webhook; what fails comes again, and keeps nobody from its turn."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from database.connection import Database
from domain.refusals import DatabaseUnavailable, EventNotApplied
from payments.applying import apply_event
from payments.defects import report_defect
from runtime.inbox import show_again_in
from runtime.jobs import Budget
from runtime.observability import count, logger
from runtime.settings import StripeSettings, credential, load
from stripe_gateway.gateway import StripeGateway

# A message that failed waits as long again as all its tries have taken so far, and the queue's own 300 s at most: an
# outage of seconds costs seconds, and one of a day no more tries than the dead-letter rule allows.
LONGEST_WAIT_SECONDS = 300


class Settings(StripeSettings):
    """What `webhook-inbox` is told."""

    webhook_inbox_queue_url: str


@cache
def _database() -> Database:
    return Database(credential(Settings, "database_url"))


@cache
def _gateway() -> StripeGateway:
    return StripeGateway(credential(Settings, "stripe_secret_key"), load(Settings).stripe_api_base)


def apply_messages(records: Sequence[Mapping[str, Any]], request_id: str, budget: Budget) -> list[str]:
    """The ids of the messages that shall come again: what failed, and what nobody came to do.

    While the database is away no message costs more than the first one: the rest is not even tried.
    """
    context = {
        "actor": "stripe",
        "actor_id": "webhook-inbox",
        "reason": "webhook",
        "request_id": request_id,
    }
    settings = load(Settings)
    failed: list[Mapping[str, Any]] = []
    away = False
    for record in records:
        if away or budget.is_spent:
            failed.append(record)
            continue
        try:
            apply_event(_database(), _gateway(), settings, json.loads(record["body"]), context)
        except DatabaseUnavailable:
            away = True
            failed.append(record)
        except EventNotApplied:
            failed.append(record)
        except Exception as failure:  # noqa: BLE001 - a message that is no event must not keep the others from being applied
            logger.exception("a message is no event", extra={"message_id": record["messageId"]})
            report_defect(failure)
            failed.append(record)
    if failed:
        count("WebhookInboxFailed", len(failed))
        show_again_in(settings.webhook_inbox_queue_url, [_wait(record) for record in failed])
    return [record["messageId"] for record in failed]


def _wait(record: Mapping[str, Any]) -> tuple[str, int]:
    """The message's receipt handle, and the seconds until it comes again."""
    tries = int(record["attributes"]["ApproximateReceiveCount"])
    return record["receiptHandle"], min(2 ** min(tries, 16), LONGEST_WAIT_SECONDS)
