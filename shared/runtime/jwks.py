"""An identity provider's public keys (RFC 7517), fetched once and again only when there is a reason."""

import json
import threading
import time
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, cast

import jwt

from domain.refusals import SignInUnavailable
from runtime.observability import count, logger

ALGORITHMS = ("RS256", "ES256")
# Connecting and reading have this long each; the caller waits for both.
FETCH_SECONDS = 2.0
MAX_BYTES = 512 * 1024
# A key that the provider has withdrawn is trusted for ten minutes more, or for an hour while the provider is away.
FRESH_SECONDS = 600.0
TRUSTED_SECONDS = 3600.0
# Anybody can name a key that nobody has: that is worth one request a minute and no more.
ASK_AGAIN_SECONDS = 60.0
# Without a single key every caller is refused, so the provider is asked sooner.
ASK_AGAIN_EMPTY_SECONDS = 5.0


class KeySet:
    """The keys that `url` lists, by their id. `clock` gives monotonic seconds."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._asked_at = float("-inf")
        self._one_at_a_time = threading.Lock()

    def key(self, key_id: object, algorithm: object) -> jwt.PyJWK | None:
        """The key of this id if it was made for this algorithm; None where the provider has no such key.

        Raises `SignInUnavailable` when the provider cannot be asked and what is known does not answer.
        """
        if not isinstance(key_id, str) or algorithm not in ALGORITHMS:
            return None
        with self._one_at_a_time:
            found = self._look_up(key_id)
        return found if found is not None and found.algorithm_name == algorithm else None

    def _look_up(self, key_id: str) -> jwt.PyJWK | None:
        if self._age() >= FRESH_SECONDS or key_id not in self._keys:
            self._ask()
        if self._age() >= TRUSTED_SECONDS:
            raise SignInUnavailable
        if key_id not in self._keys and self._fetched_at < self._asked_at:
            raise SignInUnavailable  # the last answer did not come: the key may be one of those we have not seen
        return self._keys.get(key_id)

    def _age(self) -> float:
        return self._clock() - self._fetched_at

    def _ask(self) -> None:
        """Fetches the keys, unless that was tried a moment ago; keeps those it has when nothing usable comes."""
        pause = ASK_AGAIN_SECONDS if self._age() < TRUSTED_SECONDS else ASK_AGAIN_EMPTY_SECONDS
        if self._clock() - self._asked_at < pause:
            return
        self._asked_at = self._clock()
        try:
            self._keys = _usable(_fetch(self._url))
        # Timeouts and broken connections are OSErrors; what is no key set is a ValueError.
        except (OSError, HTTPException, ValueError, jwt.PyJWTError) as failure:
            count("SignInKeysUnavailable")
            logger.warning("the sign-in keys cannot be fetched: %s", type(failure).__name__)
        else:
            self._fetched_at = self._asked_at


def _usable(listed: object) -> dict[str, jwt.PyJWK]:
    """The keys that sign with an algorithm of ours, by id. Raises ValueError where there is none."""
    keys: dict[str, jwt.PyJWK] = {}
    entries = cast("dict[str, Any]", listed).get("keys") if isinstance(listed, dict) else None
    for entry in cast("list[object]", entries) if isinstance(entries, list) else []:
        if not isinstance(entry, dict):
            continue
        try:
            key = jwt.PyJWK.from_dict(cast("dict[str, Any]", entry))
        except (jwt.PyJWTError, ValueError):
            continue  # a key of a kind that is not for us
        if key.key_id and key.public_key_use in {None, "sig"} and key.algorithm_name in ALGORITHMS:
            keys[key.key_id] = key
    if not keys:
        raise ValueError("no usable key")
    return keys


def _fetch(url: str) -> object:
    """What the address answers, as JSON. Redirects are not followed: the keys come from nowhere else."""
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.HTTPHandler())
    opener.add_handler(urllib.request.HTTPSHandler())
    with opener.open(url, timeout=FETCH_SECONDS) as answer:
        if answer.status != HTTPStatus.OK:
            raise ValueError("not answered 200")
        return json.loads(answer.read(MAX_BYTES))
