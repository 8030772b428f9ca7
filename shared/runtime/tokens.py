"""JSON Web Tokens (RFC 7519) under keys whose algorithms are fixed here, whatever a token says of itself.

Imported at the first token, because PyJWT is not free to import.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import jwt

from domain.refusals import Unauthenticated

if TYPE_CHECKING:
    from runtime.jwks import KeySet

SHARED_KEY_ALGORITHM = "HS256"
# What differs between two clocks that are both kept by NTP, with room.
LEEWAY_SECONDS = 10
REQUIRED = ["exp", "sub", "role"]


def verified_claims(
    token: str, *, secrets: Iterable[str], key_set: "KeySet | None", audience: str | None, issuer: str | None
) -> dict[str, Any]:
    """The claims of a token that one of our keys has signed, and that holds now.

    The token's header chooses among our keys and nothing more: a secret verifies HS256 alone, a key of the set the one
    algorithm that it was made for. Audience and issuer are checked where they are given. Raises `Unauthenticated`, or
    `SignInUnavailable` when the key set is away.
    """
    try:
        header = jwt.get_unverified_header(token)
        algorithm, key_id = header.get("alg"), header.get("kid")
        keys: Iterable[str | jwt.PyJWK] = secrets if algorithm == SHARED_KEY_ALGORITHM else ()
        if key_set and algorithm != SHARED_KEY_ALGORITHM and (key := key_set.key(key_id, algorithm)):
            keys = [key]
        refused = Unauthenticated("The token is signed by nobody who is known here.")
        for key in keys:
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=[SHARED_KEY_ALGORITHM if isinstance(key, str) else key.algorithm_name],
                    audience=audience,
                    issuer=issuer,
                    leeway=LEEWAY_SECONDS,
                    options={
                        "require": REQUIRED,
                        "verify_aud": audience is not None,
                        "verify_iss": issuer is not None,
                    },
                )
            except jwt.InvalidSignatureError:
                refused = Unauthenticated("The token is not valid here.")
        raise refused
    except jwt.ExpiredSignatureError:
        raise Unauthenticated("The token is over.") from None
    except jwt.PyJWTError:
        raise Unauthenticated("The token is not valid here.") from None


def signed(claims: Mapping[str, object], secret: str) -> str:
    """The claims as a token under `secret` (HS256)."""
    return jwt.encode(dict(claims), secret, algorithm=SHARED_KEY_ALGORITHM)
