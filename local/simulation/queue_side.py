"""How much waits in a queue of the cloud's."""

from aiohttp import ClientSession

from local.cloudformation import REGION

COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")


async def messages_left(http: ClientSession, queue_url: str) -> int:
    """Visible ones and those that somebody has in hand."""
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "AmazonSQS.GetQueueAttributes",
        "Authorization": f"AWS4-HMAC-SHA256 Credential=local/20260101/{REGION}/sqs/aws4_request",
    }
    body = {"QueueUrl": queue_url, "AttributeNames": list(COUNTS)}
    async with http.post(queue_url, json=body, headers=headers) as answer:
        attributes = (await answer.json(content_type=None))["Attributes"]
    return sum(int(attributes[name]) for name in COUNTS)
