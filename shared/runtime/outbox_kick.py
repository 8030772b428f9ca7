"""Sends `deliver-outbox` off right after a commit that wrote a refund; its schedule is the safety net."""

from functools import cache
from typing import Any

from runtime.observability import logger


@cache
def lambda_client() -> Any:
    """Lambda itself, for asynchronous invocations: nobody waits long for it."""
    import boto3  # noqa: PLC0415 - half a second that only a refund or a failure should cost
    from botocore.config import Config  # noqa: PLC0415 - as above

    return boto3.client(  # pyright: ignore[reportUnknownMemberType] - an overload for every service
        "lambda", config=Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1})
    )


def kick_outbox(function_name: str | None) -> None:
    """Invokes the function asynchronously. What fails here is only late: the schedule delivers it."""
    if not function_name:
        return
    try:
        lambda_client().invoke(FunctionName=function_name, InvocationType="Event", Payload=b"{}")
    except Exception:  # noqa: BLE001 - the caller's work is committed: nothing here may undo its answer
        logger.warning("deliver-outbox could not be kicked; its schedule will deliver", exc_info=True)
