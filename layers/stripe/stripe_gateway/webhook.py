"""Stripe's webhook: whether the bytes are Stripe's, and the event in them.

https://docs.stripe.com/webhooks#verify-official-libraries
"""

import hashlib
import hmac
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

# The version in which the SDK reads Stripe's objects; a test holds it against the SDK's, which is not imported for it.
API_VERSION = "2026-10-28.endive"
TOLERANCE_SECONDS = 300
STAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
NAME_LENGTH = 255
LATEST_SECOND = 2**33  # the year 2242; beyond, a time stamp is a mistake


class NotSignedByStripe(Exception):
    """The signature is missing, wrong, too old or too new."""


class NotAnEvent(Exception):
    """The payload is signed, but it is no event."""


def verify(payload: bytes, signature: str | None, secrets: Sequence[str]) -> Mapping[str, Any]:
    """The event in `payload`, if any of the secrets signed these very bytes within 300 s of now, either way.

    Several secrets are valid at once while one is being rolled. Raises `NotSignedByStripe`, `NotAnEvent`.
    """
    if not signature or not any(_signed(payload, signature, secret) for secret in secrets):
        raise NotSignedByStripe
    try:
        event = storable(json.loads(payload, parse_constant=_refuse_constant))
    except (ValueError, RecursionError) as failure:
        raise NotAnEvent from failure
    if not _is_event(event):
        raise NotAnEvent
    return event


def _signed(payload: bytes, signature: str, secret: str) -> bool:
    """Whether any `v1` of `t=<seconds>,v1=<hex>,...` is the secret's, and the time stamp within bounds either way.

    Not the SDK's own check: that lets a time stamp from the future pass, takes only text, and fails on a header that
    is not ASCII.
    """
    parts = [part.strip().partition("=") for part in signature.split(",")]
    stamps = [value for name, _, value in parts if name == "t"]
    if len(stamps) != 1 or not STAMP.fullmatch(stamps[0]):
        return False
    expected = (
        hmac.new(secret.encode(), stamps[0].encode() + b"." + payload, hashlib.sha256).hexdigest().encode()
    )
    given = [value.encode("utf-8", "surrogatepass") for name, _, value in parts if name == "v1"]
    # Every one is compared, so that the time it takes tells nothing.
    matches = [hmac.compare_digest(expected, candidate) for candidate in given]
    return any(matches) and abs(time.time() - int(stamps[0])) <= TOLERANCE_SECONDS


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def storable(value: Any) -> Any:
    """The event without client secrets, and without what PostgreSQL's jsonb cannot hold."""
    if isinstance(value, str):
        # Most are printable, and then have neither a NUL nor half a surrogate pair.
        return (
            value
            if value.isprintable()
            else value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
        )
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {storable(name): storable(item) for name, item in items if name != "client_secret"}
    if isinstance(value, list):
        return [storable(item) for item in cast("list[Any]", value)]
    if isinstance(value, float) and math.isinf(value):
        raise ValueError("a number beyond all bounds")
    return value


def _is_event(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    event = cast("dict[str, Any]", value)
    data = event.get("data")
    return (
        event.get("object") == "event"
        and all(
            isinstance(event.get(name), str) and 0 < len(event[name]) <= NAME_LENGTH
            for name in ("id", "type")
        )
        and isinstance(event.get("created"), int)
        and 0 <= event["created"] < LATEST_SECOND
        and isinstance(event.get("livemode"), bool)
        and isinstance(data, dict)
        and isinstance(cast("dict[str, Any]", data).get("object"), dict)
    )
