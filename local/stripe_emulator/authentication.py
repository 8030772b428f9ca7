"""Stripe's API keys: one secret key, any publishable test key, and never a live one."""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping

from local.stripe_emulator.errors import StripeError, unauthorized
from local.stripe_emulator.form import Form

_LIVE = re.compile(r"(sk|rk|pk)_live_")


def is_live(key: str) -> bool:
    """Whether a key would move real money at Stripe."""
    return _LIVE.match(key) is not None


def authenticate(headers: Mapping[str, str], parameters: Form, secret_key: str) -> bool:
    """Whether the key is only a publishable one. Stripe.js sends it as `key`: that parameter is taken out.

    Raises StripeError, 401, for a missing, wrong or live key.
    """
    key = _key_of(headers.get("Authorization", "")) or parameters.pop("key", None)
    if not key or not isinstance(key, str):
        raise unauthorized(
            "You did not provide an API key. You need to provide your API key in the Authorization header, "
            "using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
        )
    if is_live(key):
        raise unauthorized(
            "This is the emulator: it takes test keys only, and a live key must never reach it."
        )
    if key.startswith("pk_test_"):
        return True
    if not hmac.compare_digest(key.encode(), secret_key.encode()):
        raise unauthorized(f"Invalid API Key provided: {_masked(key)}")
    return False


def secret_key_required() -> StripeError:
    """401 for a publishable key where only the secret one will do."""
    return unauthorized(
        "This API call cannot be made with a publishable API key. Please use a secret API key.",
        code="secret_key_required",
    )


def _key_of(header: str) -> str:
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _masked(key: str) -> str:
    return key[:8] + "*" * max(0, min(len(key), 40) - 12) + key[-4:] if len(key) > 12 else "*" * len(key)
