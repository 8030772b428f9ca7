"""The emulator's rules that need a clock of their own, or no server at all."""

import asyncio
import itertools
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.stripe_emulator import buyer, events, intents, sessions
from local.stripe_emulator.account import Account, Call, Settings
from local.stripe_emulator.delivery import Courier, retry_delay, signature
from local.stripe_emulator.errors import StripeError
from local.stripe_emulator.faults import Faults, InvalidFaults, parse_faults
from local.stripe_emulator.form import decode
from local.stripe_emulator.idempotency import InFlight, Kept, keep, request_under
from local.stripe_emulator.request_shapes import CREATE_INTENT, CREATE_SESSION
from local.stripe_emulator.server import loopback_socket
from local.stripe_emulator.storage import Storage
from tests.emulator_process import Endpoint, endpoint, eventually

_REPOSITORY = Path(__file__).resolve().parents[2]
_DAY = 86_400

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def account(tmp_path: Path, clock: Clock) -> Iterator[Account]:
    storage = Storage(tmp_path)
    settings = Settings("sk_test_x", "2026-10-28.endive", "http://127.0.0.1:1/", "whsec_x")
    yield Account(settings, storage, clock, random.Random(1), "http://127.0.0.1:1")
    storage.close()


def new_session(account: Account, **more: Any) -> str:
    price = {"currency": "eur", "unit_amount": 500, "product_data": {"name": "Seat"}}
    parameters = {"line_items": [{"price_data": price, "quantity": 1}], "success_url": "http://x/", **more}
    return sessions.create(Call(account), parameters).body["id"]


def status_of(account: Account, kind: str, object_id: str) -> str:
    stored = account.storage.find(kind, object_id)
    assert stored is not None
    return stored.body["status"]


def event_types(account: Account) -> list[str]:
    return [
        event["type"] for event in account.storage.select("event", "TRUE", (), limit=99, oldest_first=True)
    ]


def test_a_session_expires_by_itself(account: Account, clock: Clock) -> None:
    """At expires_at an open session expires, its declined intent is cancelled, and both are told."""
    session_id = new_session(account, expires_at=int(clock.now) + 1800)
    buyer.pay_session(account, session_id, "pm_card_visa_chargeDeclined")
    clock.now += 1799
    sessions.expire_overdue(account)
    assert status_of(account, "checkout.session", session_id) == "open"
    clock.now += 1
    sessions.expire_overdue(account)
    assert status_of(account, "checkout.session", session_id) == "expired"
    assert event_types(account)[-2:] == ["payment_intent.canceled", "checkout.session.expired"]


def test_an_expired_session_takes_no_money(account: Account, clock: Clock) -> None:
    """A buyer who submits after expires_at is refused, even before anyone has noticed that it is over."""
    session_id = new_session(account, expires_at=int(clock.now) + 1800)
    clock.now += 1800
    with pytest.raises(StripeError, match="no longer open"):
        buyer.pay_session(account, session_id, "pm_card_visa")
    assert "payment_intent.created" not in event_types(account)


def test_a_paid_session_never_expires(account: Account, clock: Clock) -> None:
    """What is complete stays complete."""
    session_id = new_session(account)
    buyer.pay_session(account, session_id, "pm_card_visa")
    clock.now += 2 * _DAY
    sessions.expire_overdue(account)
    assert status_of(account, "checkout.session", session_id) == "complete"


def test_a_key_is_kept_for_a_day(account: Account, clock: Clock) -> None:
    """A key replays its result for 24 hours, and is then free for another request."""
    request = request_under("k", "/v1/refunds", {"a": "1"})
    keep(account, request, Kept(200, "{}", "req_1"))
    in_flight = InFlight()
    clock.now += _DAY - 1
    assert in_flight.begin(account, request) == Kept(200, "{}", "req_1")
    clock.now += 2
    assert in_flight.begin(account, request_under("k", "/v1/refunds", {"a": "2"})) is None


def test_events_are_listed_for_thirty_days(account: Account, clock: Clock) -> None:
    """An event older than 30 days is not found any more."""
    intents.create(Call(account), {"amount": 100, "currency": "eur"})
    event_id = account.storage.select("event", "TRUE", (), limit=1)[0]["id"]
    clock.now += 30 * _DAY
    assert events.retrieve(Call(account), event_id)["id"] == event_id
    clock.now += 1
    with pytest.raises(StripeError, match="No such event"):
        events.retrieve(Call(account), event_id)


def test_retries_back_off_to_half_a_minute() -> None:
    """The first retry comes after half a second, each later one after twice as long, none after more than 30 s."""
    assert [retry_delay(attempts) for attempts in (1, 2, 3, 7, 8, 5000)] == [0.5, 1, 2, 30, 30, 30]


def test_a_signature_is_the_documented_one() -> None:
    """HMAC-SHA256 of `timestamp.payload`: the value that openssl computes."""
    assert signature('{"a":1}', "whsec_test", 1_700_000_000) == (
        "t=1700000000,v1=38877139021993b830af32feea6e18a8da83eb2f6e49ee50bd9e4cf4ca4d3789"
    )


async def _delivered(account: Account, shop: Endpoint) -> None:
    courier = asyncio.create_task(Courier(account, shop.url).run())
    await asyncio.to_thread(eventually, lambda: shop.received)
    courier.cancel()
    await asyncio.gather(courier, return_exceptions=True)


@pytest.mark.parametrize("reading", range(1, 4))
def test_what_falls_due_between_two_readings_of_the_clock_is_delivered(
    account: Account, clock: Clock, reading: int
) -> None:
    """A delivery that is not due when the queue is looked at, and is when the next moment is sought."""
    events.emit(Call(account), "charge.updated", {"id": "ch_1"})
    due = clock.now
    readings = itertools.count(due - reading + 0.5)
    account.clock = lambda: next(readings)
    with endpoint() as shop:
        asyncio.run(_delivered(account, shop))
        assert len(shop.received) == 1


@given(_json)
def test_no_fault_script_breaks_the_parser(document: object) -> None:
    """Any JSON is a fault script or InvalidFaults; a script reads as it was written."""
    try:
        faults = parse_faults(document)
    except InvalidFaults:
        return
    assert parse_faults(faults.to_json()) == faults


def test_the_empty_fault_script_is_no_fault() -> None:
    """What is left out has its default."""
    assert parse_faults({}) == Faults()


@given(st.text(alphabet="ab[]=&%01x", max_size=40))
def test_no_form_breaks_the_decoder(text: str) -> None:
    """Any body is decoded, and then read or refused with Stripe's error; nothing else is raised."""
    for parameters in (CREATE_INTENT, CREATE_SESSION):
        with pytest.raises(StripeError):
            parameters.read(decode(text))


@pytest.mark.parametrize(
    ("form", "decoded"),
    [
        ("a=1&b=", {"a": "1", "b": ""}),
        ("a[b][c]=1&a[b][d]=2", {"a": {"b": {"c": "1", "d": "2"}}}),
        ("a[]=x&a[]=y", {"a": {"0": "x", "1": "y"}}),
        ("a[0][b]=x&a[1][b]=y", {"a": {"0": {"b": "x"}, "1": {"b": "y"}}}),
        ("a%5Bb%5D=%C3%A9+1", {"a": {"b": "é 1"}}),
    ],
)
def test_bracketed_names_nest(form: str, decoded: dict[str, object]) -> None:
    """Bracketed names nest, empty brackets count up, and percent-encoding is undone."""
    assert decode(form) == decoded


@pytest.mark.parametrize("form", ["a=1&a[b]=2", "a[b]=2&a=1", "[a]=1", "a[b=1", "a" + "[b]" * 40 + "=1"])
def test_a_name_that_is_none_is_refused(form: str) -> None:
    """A name that is both a value and a group, or no name at all, is refused."""
    with pytest.raises(StripeError):
        decode(form)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "::", "example.com"])  # noqa: S104 - what must be refused
def test_it_binds_loopback_only(host: str) -> None:
    """An address that others could reach is refused."""
    with pytest.raises(ValueError, match=r"loopback|does not appear"):
        loopback_socket(host, 0)


@pytest.mark.parametrize("key", ["sk_live_0123456789", "rk_live_0123456789", "whatever"])
def test_it_refuses_a_live_key(key: str, tmp_path: Path) -> None:
    """Started with a key that is no test key it says so in one line and exits."""
    command = [sys.executable, "-m", "local.stripe_emulator", "--state", str(tmp_path), "--secret-key", key]
    path = {"PYTHONPATH": f"{_REPOSITORY}:{_REPOSITORY / 'shared'}"}
    ended = subprocess.run(
        command, cwd=_REPOSITORY, env=path, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "test key" in ended.stderr
    assert key not in ended.stderr
