"""Takes its time, or leaves a trace."""

import time
from pathlib import Path
from typing import Any


def answer(event: dict[str, Any], _context: object) -> Any:
    """After as many seconds as the query says."""
    time.sleep(float(event.get("queryStringParameters", {}).get("seconds", "0")))
    return {"statusCode": 200, "body": "done"}


def append(event: dict[str, Any], _context: object) -> Any:
    """A line in the file that the event names, then failure if it says so."""
    with Path(event["file"]).open("a") as file:
        file.write("ran\n")
    if event.get("fail"):
        raise RuntimeError("as asked")
    return {"ran": 1}
