"""The capability of a hold: who has its token may see, pay and end it."""

import hashlib
import hmac


def reservation_token(reservation_id: str, secret: str) -> str:
    """HMAC-SHA256 of the id under `TOKEN_SECRET`, hex. It is derived anew each time and stored nowhere."""
    return hmac.new(secret.encode(), reservation_id.lower().encode(), hashlib.sha256).hexdigest()


def token_matches(reservation_id: str, token: str, secret: str) -> bool:
    """Whether the token is this reservation's; takes the same time for every wrong one."""
    return hmac.compare_digest(reservation_token(reservation_id, secret).encode(), token.encode())
