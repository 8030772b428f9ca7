"""Does to its execution environment what a function should not."""

import os
import signal
import time
from typing import Any


def act(event: dict[str, Any], _context: object) -> Any:
    """The path names the sin."""
    path = event["rawPath"]
    if path == "/exit":
        os._exit(3)
    if path == "/killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if path == "/sleep":
        time.sleep(30)
    if path == "/raise":
        raise ValueError("secret detail")
    if path == "/hoard":
        hoard = [bytearray(16 * 1024 * 1024) for _ in range(40)]
        time.sleep(len(hoard))
    return {"statusCode": 200, "body": str(os.getpid())}
