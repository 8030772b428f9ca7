"""The buckets that a request is counted in: of its address, and of whoever it comes from, a function and a minute."""

import hashlib
import ipaddress

from domain.limits import Limits
from runtime.settings import Settings

# Looking costs others little, and pages do it by themselves.
READS_AN_ACT = 10
# An IPv6 address is one of the 2^64 that its user has.
IPV6_NETWORK = 64


def request_limits(
    settings: Settings, *, function: str, method: str, address: str, identity: str | None
) -> Limits:
    """Requests a minute, by bucket; none where there are no limits.

    An address may stand for an office, so it has more room than one caller. Buckets are named by digests: the database
    need not know who was where.
    """
    if not settings.rate_limits:
        return {}
    kind, times = ("reads", READS_AN_ACT) if method == "GET" else ("acts", 1)
    limits = {f"{function}:{kind}:address:{owner_of(address)}": settings.rate_limit_address * times}
    if identity is not None:
        limits[f"{function}:{kind}:identity:{_digest(identity)}"] = settings.rate_limit_identity * times
    return limits


def owner_of(address: str) -> str:
    """Whom an IP address belongs to, as a digest: of itself, or of its network where a user has a whole one."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return _digest(address)
    length = IPV6_NETWORK if found.version == 6 else found.max_prefixlen
    return _digest(str(ipaddress.ip_network((found, length), strict=False)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
