"""The webhook inbox in this process: moto's SQS, and messages as Lambda hands them to a function."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from moto import mock_aws

from runtime import inbox
from tests.support.app import App

REGION = "us-east-1"


class Inbox:
    """The queue as a test looks at it, and its function as Lambda's poller calls it."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._sqs = boto3.client("sqs", region_name=REGION)
        self.url = self._sqs.create_queue(
            QueueName="holdfast-webhook-inbox", Attributes={"VisibilityTimeout": "300"}
        )["QueueUrl"]
        app.set(WEBHOOK_INBOX_QUEUE_URL=self.url, AWS_DEFAULT_REGION=REGION)

    def put(self, *bodies: object) -> None:
        """Messages: an event, or any text."""
        for body in bodies:
            text = body if isinstance(body, str) else json.dumps(body)
            self._sqs.send_message(QueueUrl=self.url, MessageBody=text)

    def receive(self) -> list[dict[str, Any]]:
        """Up to ten visible messages as a function gets them; they stay invisible for the queue's time."""
        answer = self._sqs.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
        )
        return [
            {
                "messageId": message.get("MessageId"),
                "receiptHandle": message.get("ReceiptHandle"),
                "body": message.get("Body"),
                "attributes": dict(message.get("Attributes", {})),
            }
            for message in answer.get("Messages", [])
        ]

    def events(self) -> list[Any]:
        """The visible messages as events; nobody else gets them any more."""
        return [json.loads(record["body"]) for record in self.receive()]

    def drain(self) -> list[str]:
        """One batch through `webhook-inbox`: the bodies of the messages that shall come again."""
        records = self.receive()
        answer = self._app.invoke("webhook-inbox", {"Records": records})
        again = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        return [record["body"] for record in records if record["messageId"] in again]


@contextmanager
def inbox_of(app: App, patch: pytest.MonkeyPatch) -> Generator[Inbox]:
    """An empty inbox that the functions know of."""
    patch.delenv("AWS_ENDPOINT_URL", raising=False)
    inbox._sqs.cache_clear()
    with mock_aws():
        yield Inbox(app)
    inbox._sqs.cache_clear()
