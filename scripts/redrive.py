"""Moves webhook events from the dead-letter queue back to the inbox, whose function then tries them anew.

Each is written to the inbox before it leaves the dead-letter queue: killed in between, it is in both, and applied once.
Run again until it says that none is left. Against AWS the caller needs sqs:ReceiveMessage, DeleteMessage and
GetQueueUrl on the dead-letter queue, sqs:SendMessage on the inbox, and GetQueueAttributes on both.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from local.cloudformation import REGION

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

BATCH = 10
# Long polling asks all of SQS's servers; a short one may miss the few messages that are there.
WAIT_SECONDS = 2


def redrive(sqs: "SQSClient", queue_url: str) -> tuple[int, int]:
    """(moved, left): what was moved to the queue from its dead-letter queue, and about how much is still there."""
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["RedrivePolicy"])
    policy = json.loads(attributes["Attributes"]["RedrivePolicy"])
    dead_letters = sqs.get_queue_url(QueueName=policy["deadLetterTargetArn"].rpartition(":")[2])["QueueUrl"]
    moved = 0
    while messages := sqs.receive_message(
        QueueUrl=dead_letters, MaxNumberOfMessages=BATCH, WaitTimeSeconds=WAIT_SECONDS
    ).get("Messages"):
        for message in messages:
            sqs.send_message(QueueUrl=queue_url, MessageBody=message.get("Body", ""))
            sqs.delete_message(QueueUrl=dead_letters, ReceiptHandle=message.get("ReceiptHandle", ""))
            moved += 1
    counts = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    left = sqs.get_queue_attributes(QueueUrl=dead_letters, AttributeNames=counts)["Attributes"]
    return moved, sum(int(left[name]) for name in counts)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.redrive", description=__doc__)
    parser.add_argument(
        "--queue-url", help="the inbox's, in AWS (QUEUE_URL of make); else the running local cloud's"
    )
    state = os.environ.get("STATE") or ".local"
    parser.add_argument("--state", default=state, type=Path, help="the local cloud's folder (STATE)")
    arguments = parser.parse_args()
    try:
        if arguments.queue_url:
            sqs = boto3.client("sqs")  # pyright: ignore[reportUnknownMemberType] - an overload for every service
            moved, left = redrive(sqs, arguments.queue_url)
        else:
            stack = json.loads((arguments.state / "stack.json").read_text())
            sqs = boto3.client(  # pyright: ignore[reportUnknownMemberType] - as above
                "sqs",
                endpoint_url=stack["aws_endpoint_url"],
                region_name=REGION,
                aws_access_key_id="local",
                aws_secret_access_key="local",  # noqa: S106 - the local cloud asks for none
            )
            moved, left = redrive(sqs, stack["webhook_inbox_queue_url"])
    except FileNotFoundError:
        sys.exit(f"no cloud runs in {arguments.state}: make up, or name the inbox of another by QUEUE_URL")
    except (BotoCoreError, ClientError, KeyError) as failure:
        sys.exit(f"not redriven: {failure}")
    print(f"{moved} moved to the inbox, {left} left in the dead-letter queue")
    return 0 if left == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
