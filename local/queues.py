"""The template's SQS event sources: messages become invocations, as Lambda's own pollers make them.

https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from local.cloudformation import ACCOUNT, REGION
from local.invocation import Backend, Throttled
from local.journal import Journal
from local.lambda_runtime.runtime import report
from local.template import LambdaFunction, QueueSource

WAIT_S = 5  # of one long poll
REST_S = 0.5  # after a poll that failed
CONTENT_TYPE = "application/x-amz-json-1.0"

type Message = Mapping[str, Any]


class QueueAway(Exception):
    """SQS cannot be reached, or does not do what it is asked."""


class Queue:
    """One queue, over SQS's JSON protocol."""

    def __init__(self, endpoint_url: str, name: str, session: ClientSession) -> None:
        self._endpoint_url = endpoint_url
        self._url = f"{endpoint_url}/{ACCOUNT}/{name}"
        self._session = session

    async def receive(self, limit: int) -> list[Message]:
        """Up to `limit` messages, invisible to others from now on; none where none came for a while."""
        parameters = {
            "MaxNumberOfMessages": limit,
            "WaitTimeSeconds": WAIT_S,
            "MessageSystemAttributeNames": ["All"],
        }
        answer = await self._call("ReceiveMessage", parameters)
        return answer.get("Messages", [])

    async def delete(self, message: Message) -> None:
        """Takes a message that is done out of the queue."""
        await self._call("DeleteMessage", {"ReceiptHandle": message["ReceiptHandle"]})

    async def _call(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        headers = {
            "Content-Type": CONTENT_TYPE,
            "X-Amz-Target": f"AmazonSQS.{action}",
            # Nobody checks it; it is how moto tells services apart.
            "Authorization": f"AWS4-HMAC-SHA256 Credential=local/20260101/{REGION}/sqs/aws4_request",
        }
        body = json.dumps({"QueueUrl": self._url, **parameters})
        try:
            async with self._session.post(self._endpoint_url, data=body, headers=headers) as answer:
                if answer.status != HTTPStatus.OK:
                    raise QueueAway(await answer.text())
                return await answer.json(content_type=None) or {}
        except (ClientError, TimeoutError, ValueError) as error:  # or died half way through its answer
            raise QueueAway from error


async def run_queue_sources(
    functions: Iterable[LambdaFunction], backend: Backend, journal: Journal, endpoint_url: str
) -> None:
    """Invoke each function with the messages of its queues, as many at once as the template allows; until cancelled."""
    async with (
        ClientSession(timeout=ClientTimeout(total=4 * WAIT_S)) as session,
        asyncio.TaskGroup() as tasks,
    ):
        for function in functions:
            for source in function.queue_sources:
                queue = Queue(endpoint_url, source.queue_name, session)
                for _ in range(source.concurrency):
                    tasks.create_task(_poll(queue, source, function, backend, journal))


async def _poll(
    queue: Queue, source: QueueSource, function: LambdaFunction, backend: Backend, journal: Journal
) -> None:
    while True:
        try:
            if messages := await queue.receive(source.batch_size):
                payload = json.dumps({"Records": [record_of(message, source) for message in messages]})
                outcome = await backend.invoke(function, payload.encode())
                report(journal, function, outcome, what="queue")
                again = [] if outcome.error is None else messages
                if not again and source.reports_failures:
                    again = to_come_again(messages, outcome.payload)
                for message in messages:
                    if message not in again:
                        await queue.delete(message)
        except (QueueAway, Throttled):
            await asyncio.sleep(REST_S)


def record_of(message: Message, source: QueueSource) -> dict[str, Any]:
    """A message as a function gets it."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{source.queue_name}",
        "awsRegion": REGION,
    }


def to_come_again(messages: Sequence[Message], payload: bytes) -> Sequence[Message]:
    """The messages that a function reports as failed; all of them where its report makes no sense.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
    """
    known = {message["MessageId"]: message for message in messages}
    try:
        said: Any = json.loads(payload) or {}
        return [known[item["itemIdentifier"]] for item in said.get("batchItemFailures") or ()]
    except (ValueError, TypeError, KeyError, AttributeError):
        return messages
