"""Which buckets a request is counted in."""

import pytest

from domain.limits import begin_request, comes_from, limits_due
from runtime.limits import READS_AN_ACT, request_limits
from runtime.settings import Settings

SETTINGS = Settings(rate_limit_address=7, rate_limit_identity=2)


def buckets(address: str = "203.0.113.7", identity: str | None = None, **changes: str) -> dict[str, int]:
    given = {"function": "shop-bookings", "method": "POST", **changes}
    return dict(
        request_limits(
            SETTINGS, address=address, identity=identity, function=given["function"], method=given["method"]
        )
    )


def test_an_address_and_a_caller_have_a_bucket_each() -> None:
    assert list(buckets(identity="ada").values()) == [7, 2]
    assert list(buckets().values()) == [7]


@pytest.mark.parametrize(
    "other", [{"function": "shop-admin"}, {"method": "GET"}, {"address": "203.0.113.8"}], ids=str
)
def test_functions_reads_and_addresses_are_counted_apart(other: dict[str, str]) -> None:
    assert buckets().keys().isdisjoint(buckets(**other))


def test_reads_have_more_room() -> None:
    assert list(buckets(method="GET", identity="ada").values()) == [7 * READS_AN_ACT, 2 * READS_AN_ACT]


def test_an_ipv6_network_of_64_bits_is_one_address() -> None:
    """Whoever has one of its addresses has all of them."""
    assert buckets("2001:db8::1") == buckets("2001:db8::ffff:2")
    assert buckets("2001:db8::1") != buckets("2001:db8:0:1::1")


def test_a_caller_is_no_address() -> None:
    """Nobody takes an address's room by calling themselves so."""
    assert len(buckets("203.0.113.7", identity="203.0.113.7")) == 2


def test_a_request_is_counted_once() -> None:
    """By what was said last of who it comes from; and nothing is, once it is over."""
    begin_request(lambda identity: {identity or "": 1})
    comes_from("a token")
    comes_from("a user")
    assert limits_due() == {"a user": 1}
    assert limits_due() == {}
    begin_request(None)
    comes_from("nobody")
    assert limits_due() == {}
