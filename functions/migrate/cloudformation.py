"""What CloudFormation expects of a custom resource: one answer, put where the event says.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html
"""

import json
import urllib.request
from collections.abc import Mapping
from typing import Any

ANSWER_SECONDS = 10


def is_asked_by(event: Mapping[str, Any]) -> bool:
    """Whether CloudFormation sent the event, and waits."""
    return "ResponseURL" in event and "RequestType" in event


def answer(event: Mapping[str, Any], *, succeeded: bool, log: str) -> None:
    """Tell CloudFormation how it ended; raises OSError where its address cannot be reached."""
    body = {
        "Status": "SUCCESS" if succeeded else "FAILED",
        "Reason": f"See the log stream {log}",
        # The same one ever after: another would make CloudFormation delete "the old migration".
        "PhysicalResourceId": event.get("PhysicalResourceId") or "migration",
        **{name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")},
    }
    request = urllib.request.Request(  # noqa: S310 - CloudFormation's own address, which it signed
        event["ResponseURL"],
        data=json.dumps(body).encode(),
        method="PUT",
        headers={"Content-Type": ""},  # part of what the address's signature covers
    )
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):  # noqa: S310 - as above
        pass
