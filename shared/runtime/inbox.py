"""The webhook inbox, an SQS queue: where verified events wait while the database is away.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from runtime.observability import logger


@cache
def _sqs() -> Any:
    import boto3  # noqa: PLC0415 - half a second that only an outage should cost
    from botocore.config import Config  # noqa: PLC0415 - as above

    return boto3.client(  # pyright: ignore[reportUnknownMemberType] - an overload for every service
        "sqs", config=Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1})
    )


def put_in_inbox(queue_url: str | None, event: Mapping[str, Any]) -> bool:
    """Whether the queue has the event now. False: away, not there, or the event is over its 1 MiB; ask nobody twice."""
    if not queue_url:
        return False
    try:
        # As ASCII: SQS takes only the characters of XML 1.0.
        _sqs().send_message(QueueUrl=queue_url, MessageBody=json.dumps(event, separators=(",", ":")))
    except Exception:  # noqa: BLE001 - whatever it was, the event is not in the queue
        logger.exception("the event could not be queued")
        return False
    return True


def inbox_answers(queue_url: str) -> bool:
    """Whether the queue is there."""
    try:
        _sqs().get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    except Exception:  # noqa: BLE001 - whatever it was, it is not
        logger.warning("the webhook inbox does not answer", exc_info=True)
        return False
    return True


def show_again_in(queue_url: str, waits: Sequence[tuple[str, int]]) -> None:
    """Has messages, by their receipt handles, come again after so many seconds; failing that, after the queue's own time."""
    entries = [
        {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": seconds}
        for number, (handle, seconds) in enumerate(waits)
    ]
    try:
        _sqs().change_message_visibility_batch(QueueUrl=queue_url, Entries=entries)
    except Exception:  # noqa: BLE001 - they only come later
        logger.warning("the queue was not told when to show its messages again", exc_info=True)
