"""The great races once more as the world sees them: over HTTP, through Lambda's runtime, in several processes.

The guards are those of tests/concurrency, and so are the negative controls: `test_holding` without the slot's lock,
`test_paying` without lock and lease, `test_webhooks` without claim and locks.
"""

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import requests

from tests.faults.cloud import Cloud
from tests.support.stripe_events import signature


def at_once(callers: int, act: Callable[[int], requests.Response]) -> list[requests.Response]:
    """What a function answered each caller; who waited in vain for a row that the crowd before has locked asks again."""

    def call(number: int) -> requests.Response:
        while "/problems/lock-timeout" in (answer := act(number)).text:
            pass
        return answer

    with ThreadPoolExecutor(max_workers=callers) as pool:
        return list(pool.map(call, range(callers)))


def test_a_hundred_buyers_over_http_get_the_last_unit_once(cloud: Cloud) -> None:
    """A hundred requests for the last unit: one 201, ninety-nine 409 `sold-out` that say what is left."""
    slot = cloud.slot(1)

    answers = at_once(100, lambda _: cloud.try_hold(slot))

    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 99}
    refused = [answer for answer in answers if answer.status_code == 409]
    assert {answer.json()["type"] for answer in refused} == {"/problems/sold-out"}
    assert {answer.headers["Content-Type"] for answer in refused} == {"application/problem+json"}
    left = [{"slot_id": slot, "units_left": 0, "bookings_left": 0}]
    assert [answer.json()["left"] for answer in refused] == [left] * 99


def test_fifty_calls_under_one_key_over_http_are_one_payment(cloud: Cloud) -> None:
    """Same key, same body, fifty at once: one intent at Stripe, one 201, the rest 409 or the same bytes again."""
    hold = cloud.hold()
    cloud.faults(deliver=False)

    answers = at_once(50, lambda _: cloud.pay(hold, "fifty"))

    made = [answer for answer in answers if answer.status_code == 201]
    assert len([answer for answer in made if "Idempotent-Replayed" not in answer.headers]) == 1
    assert len({answer.content for answer in made}) == 1
    assert {answer.json()["type"] for answer in answers if answer.status_code != 201} <= {
        "/problems/request-in-progress"
    }
    assert len(cloud.intents(hold)) == 1
    cloud.faults()
    assert cloud.broken_promises() == []


def test_an_event_over_http_fifty_times_is_one_booking(cloud: Cloud) -> None:
    """The same event fifty times at once: one booking, one notification, and 200 only once the booking is there."""
    hold = cloud.hold()
    intent_id = cloud.pay(hold).json()["payment_intent_id"]
    cloud.delivered()
    cloud.faults(deliver=False)
    cloud.confirm(intent_id)
    event = succeeded(cloud, intent_id)
    booked: list[str] = []

    def tell(_: int) -> requests.Response:
        answer = deliver(cloud, event)
        if answer.status_code == 200:
            booked.append(cloud.status(hold))
        return answer

    answers = at_once(50, tell)

    told = Counter(answer.json()["outcome"] for answer in answers if answer.status_code == 200)
    assert told["processed"] == 1
    assert set(told) == {"processed", "duplicate"}
    assert {answer.status_code for answer in answers} <= {200, 409, 500, 503}
    assert set(booked) == {"completed"}
    about = "SELECT count(*) FROM outbox WHERE kind = 'notification' AND payload ->> 'reservation_id' = %s"
    assert cloud.value(about, hold.id) == 1
    cloud.faults()
    assert cloud.broken_promises() == []


def succeeded(cloud: Cloud, intent_id: str) -> bytes:
    """Stripe's event that the intent is paid, as it would be delivered."""
    events = cloud.stripe_client.v1.events.list({"type": "payment_intent.succeeded", "limit": 100})
    (event,) = [event for event in events.data if event.data.object["id"] == intent_id]
    return json.dumps(event.to_dict()).encode()


def deliver(cloud: Cloud, event: bytes) -> requests.Response:
    signed = signature(event, secret=cloud.stack["stripe"]["webhook_secrets"][0])
    url = f"{cloud.stack['base_url']}/stripe-webhook/"
    headers = {"Stripe-Signature": signed}
    return cloud.served(lambda: cloud.http.post(url, data=event, headers=headers, timeout=60))
