"""How the emulator delivers events, what a fault script does to them, and what survives a kill."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from local.child import free_port
from tests.emulator_process import (
    SECRET_KEY,
    WEBHOOK_SECRET,
    Emulator,
    Endpoint,
    emulator,
    endpoint,
    eventually,
)

_PAID = "amount=2500&currency=eur&payment_method_types[]=card&payment_method=pm_card_visa&confirm=true"
_TYPES = {"payment_intent.created", "charge.succeeded", "payment_intent.succeeded"}


@pytest.fixture(scope="module")
def shop() -> Iterator[Endpoint]:
    with endpoint() as started:
        yield started


@pytest.fixture(scope="module")
def shared(shop: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with emulator(tmp_path_factory.mktemp("stripe"), webhook_url=shop.url, more=("--seed", "7")) as started:
        yield started


@pytest.fixture
def running(shared: Emulator, shop: Endpoint) -> Emulator:
    """The emulator with nothing wrong and nothing under way."""
    shared.faults()
    shop.statuses.clear()
    shop.answering.set()
    eventually(lambda: all(entry["pending"] == 0 for entry in deliveries(shared)))
    shop.received.clear()
    return shared


def deliveries(running: Emulator) -> list[dict[str, object]]:
    return running.call("GET", "/_emulator/deliveries")[1]


def paid_intent(running: Emulator) -> str:
    status, body, _ = running.api("POST", "/v1/payment_intents", _PAID)
    assert status == 200
    return body["id"]


def test_events_are_signed_as_stripe_signs_them(running: Emulator, shop: Endpoint) -> None:
    """Every event arrives once, and Stripe's own verification accepts its signature."""
    intent_id = paid_intent(running)
    eventually(lambda: len(shop.received) == 3)
    assert {event["type"] for event in shop.events()} == _TYPES
    signature, payload = shop.received[0]
    event = stripe.Webhook.construct_event(payload, signature, WEBHOOK_SECRET)
    assert (event.livemode, event.pending_webhooks, event.api_version) == (False, 1, stripe.api_version)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(payload, signature, "whsec_another")
    eventually(lambda: all(entry["last_status"] == 200 for entry in deliveries(running)))
    assert shop.of(intent_id).count("payment_intent.succeeded") == 1
    _, listed, _ = running.api("GET", "/v1/events?delivery_success=true&limit=3")
    assert [event["pending_webhooks"] for event in listed["data"]] == [0, 0, 0]


def test_a_refused_event_comes_again_signed_anew(running: Emulator, shop: Endpoint) -> None:
    """While the endpoint does not answer 2xx the event comes again, later each time, and is then done."""
    shop.statuses.append(500)
    shop.status = 302
    running.api("POST", "/v1/payment_intents", "amount=100&currency=eur")
    eventually(lambda: len(shop.received) >= 3)
    assert deliveries(running)[-1]["last_status"] == 302
    _, listed, _ = running.api("GET", "/v1/events?delivery_success=false")
    assert listed["data"][0]["pending_webhooks"] == 1
    shop.status = 200
    eventually(lambda: deliveries(running)[-1]["pending"] == 0)
    entry = deliveries(running)[-1]
    assert (entry["type"], entry["last_status"]) == ("payment_intent.created", 200)
    assert entry["attempts"] == len(shop.received) >= 4
    assert len({payload for _, payload in shop.received}) == 1
    assert len({signature for signature, _ in shop.received}) > 1


def test_events_are_held_back_and_sent_on_release(running: Emulator, shop: Endpoint) -> None:
    """deliver: false holds events back, which can be listed all the same; true sends them, each as often as asked."""
    running.faults(deliver=False)
    intent_id = paid_intent(running)
    time.sleep(0.1)
    assert shop.received == []
    assert running.api("GET", "/v1/events?limit=1")[1]["data"][0]["data"]["object"]["id"] == intent_id
    assert [entry["attempts"] for entry in deliveries(running)[-3:]] == [0, 0, 0]
    running.faults(deliver=True, duplicate=2)
    eventually(lambda: len(shop.received) == 6)


def test_events_are_duplicated_and_shuffled(running: Emulator, shop: Endpoint) -> None:
    """Each event arrives as often as asked, and not in the order in which things happened."""
    running.faults(duplicate=3, shuffle_ms=300)
    for _ in range(4):
        paid_intent(running)
    eventually(lambda: len(shop.received) == 36)
    ids = [event["id"] for event in shop.events()]
    assert {ids.count(event_id) for event_id in ids} == {3}
    listed = [event["id"] for event in running.api("GET", "/v1/events?limit=12")[1]["data"]][::-1]
    assert [event_id for event_id, _ in itertools.groupby(ids)] != listed


def test_a_dropped_event_is_only_listed(running: Emulator, shop: Endpoint) -> None:
    """With drop 1 nothing is ever delivered, and /v1/events has it all."""
    running.faults(drop=1.0)
    paid_intent(running)
    running.faults()
    running.api("POST", "/v1/payment_intents", "amount=100&currency=eur")
    eventually(lambda: len(shop.received) == 1)
    listed = running.api("GET", "/v1/events?limit=4")[1]["data"]
    assert {event["type"] for event in listed[1:]} == _TYPES
    assert [event["pending_webhooks"] for event in listed[1:]] == [1, 1, 1]
    delivered = {entry["event_id"] for entry in deliveries(running)}
    assert [event["id"] in delivered for event in listed] == [True, False, False, False]


def test_what_was_not_delivered_is_found_by_walking_the_events(running: Emulator) -> None:
    """Dropped events are listed by type, time and delivery_success, from either end, without a gap."""
    begun = int(time.time())
    paid_intent(running)
    before = running.api("GET", "/v1/events?limit=1")[1]["data"][0]["id"]
    running.faults(drop=1.0)
    dropped = [paid_intent(running) for _ in range(4)]
    running.faults()
    paid_intent(running)
    eventually(lambda: all(entry["last_status"] == 200 for entry in deliveries(running)))
    asked = f"types[]=payment_intent.succeeded&delivery_success=false&created[gte]={begun}"
    forwards: list[dict[str, Any]] = []
    more = True
    while more:
        cursor = forwards[0]["id"] if forwards else before
        _, page, _ = running.api("GET", f"/v1/events?{asked}&limit=3&ending_before={cursor}")
        forwards = [*page["data"], *forwards]
        more = page["has_more"]
    assert [event["data"]["object"]["id"] for event in forwards] == dropped[::-1]
    _, page, _ = running.api("GET", f"/v1/events?{asked}&limit=2&starting_after={forwards[1]['id']}")
    assert page["data"][:2] == forwards[2:]
    late = f"types[]=payment_intent.succeeded&created[gt]={int(time.time())}"
    assert running.api("GET", f"/v1/events?{late}")[1]["data"] == []


@pytest.mark.parametrize("query", ["type=charge.*&types[]=charge.failed", "types[]=charge.failed&" * 21])
def test_events_are_asked_for_as_stripe_lets_one(running: Emulator, query: str) -> None:
    """Either one type or up to twenty types."""
    status, body, _ = running.api("GET", f"/v1/events?{query}")
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")


def test_a_slow_endpoint_does_not_hold_up_the_api(running: Emulator, shop: Endpoint) -> None:
    """Requests are answered while the endpoint answers none of their events; all arrive once it does."""
    shop.answering.clear()
    for number in range(100):
        running.session.post(
            f"{running.url}/v1/payment_intents",
            data={"amount": 1000 + number, "currency": "eur"},
            headers={"Authorization": f"Bearer {SECRET_KEY}"},
            timeout=20,
        )
    _, listed, _ = running.api("GET", "/v1/events?limit=100")
    assert {event["pending_webhooks"] for event in listed["data"]} == {1}
    shop.answering.set()
    sent = {event["id"] for event in listed["data"]}
    eventually(lambda: sent <= {event["id"] for event in shop.events()}, within=20)


@pytest.mark.parametrize(
    "wrong",
    [
        {"deliver": "yes"},
        {"duplicate": 0},
        {"duplicate": True},
        {"drop": 1.5},
        {"surprise": 1},
        {"responses": {}},
        {"responses": [{"path": "v1/refunds"}]},
        {"responses": [{"path": "/v1/refunds?limit=1"}]},
        {"responses": [{"status": 600}]},
        {"responses": [{"status": False}]},
        {"responses": [{"times": "1"}]},
        {"responses": [{"methods": "GET"}]},
        [],
        "not JSON",
    ],
)
def test_a_wrong_fault_script_changes_nothing(running: Emulator, wrong: object) -> None:
    """An unknown field or a wrong type is 400, and the script stays as it was."""
    running.faults(duplicate=1, search_lag_s=3)
    status, body, _ = running.call("PUT", "/_emulator/faults", wrong)
    assert (status, list(body["error"])) == (400, ["message"])
    assert running.call("GET", "/_emulator/faults")[1]["search_lag_s"] == 3


def test_a_fault_script_reads_as_it_was_written(running: Emulator) -> None:
    """What is left out has its default, and what a GET answers a PUT takes."""
    running.faults(responses=[{"method": "POST", "path": "/v1/refunds", "status": 429}])
    _, script, _ = running.call("GET", "/_emulator/faults")
    assert script["responses"] == [
        {
            "method": "POST",
            "path": "/v1/refunds",
            "times": 1,
            "status": 429,
            "timeout_before": False,
            "timeout_after": False,
            "delay_ms": 0,
        }
    ]
    assert (script["deliver"], script["duplicate"], script["search_lag_s"]) == (True, 1, 10)
    assert running.call("PUT", "/_emulator/faults", script)[0] == 200


def test_everything_survives_a_kill(tmp_path: Path) -> None:
    """Killed -9 and started again: objects, idempotency keys and faults are there, and delivery goes on."""
    with endpoint() as shop, emulator(tmp_path, webhook_url=shop.url, port=free_port()) as first:
        shop.status = 503
        _, answered, _ = first.api("POST", "/v1/payment_intents", _PAID, key="k1")
        eventually(lambda: len(shop.received) >= 3)
        first.faults(responses=[{"path": "/v1/refunds", "times": 2, "status": 429}])
        assert first.api("GET", "/v1/refunds")[0] == 429
        first.kill()
        shop.status = 200
        with emulator(tmp_path, webhook_url=shop.url, port=first.port) as second:
            status, again, headers = second.api("POST", "/v1/payment_intents", _PAID, key="k1")
            assert (status, again, headers["Idempotent-Replayed"]) == (200, answered, "true")
            assert len(second.api("GET", "/v1/payment_intents")[1]["data"]) == 1
            assert second.call("GET", "/_emulator/faults")[1]["responses"][0]["times"] == 1
            eventually(lambda: all(entry["last_status"] == 200 for entry in deliveries(second)))
            assert set(shop.of(answered["id"])) == _TYPES - {"charge.succeeded"}


def test_a_kill_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    """Killed in the middle of many requests: every intent whose creation was answered is there afterwards."""
    with emulator(tmp_path) as first:
        answered = [
            first.api("POST", "/v1/payment_intents", "amount=100&currency=eur")[1]["id"] for _ in range(20)
        ]
        first.kill()
    with emulator(tmp_path) as second:
        _, listed, _ = second.api("GET", "/v1/payment_intents?limit=100")
        assert [intent["id"] for intent in listed["data"]] == answered[::-1]
