"""Object ids and secrets that look like Stripe's."""

import secrets
import string

_ALPHABET = string.ascii_letters + string.digits

SESSION_PREFIX = "cs_test_a1"


def _letters(length: int) -> str:
    # The modulo favours a few letters: these need to be unique, and guard nothing.
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in secrets.token_bytes(length))


def new_id(prefix: str, length: int = 24) -> str:
    """A new object id, `prefix_` and random letters; never seeded: ids stay unique across restarts."""
    return f"{prefix}_{_letters(length)}"


def new_session_id() -> str:
    """A new id of a checkout session in test mode."""
    return SESSION_PREFIX + _letters(56)


def client_secret(intent_id: str) -> str:
    """The secret with which a browser confirms the intent."""
    return f"{intent_id}_secret_{_letters(25)}"
