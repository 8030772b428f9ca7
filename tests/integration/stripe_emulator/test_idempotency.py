"""Idempotency keys and faulted answers, as a client that retries meets them."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
import requests
import stripe

from tests.emulator_process import SECRET_KEY, Emulator

_PATH = "/v1/payment_intents"
_FORM = "amount=2500&currency=eur&metadata[order]=7"


@pytest.fixture
def key() -> str:
    return f"payment:{uuid4()}:1"


def intents_of(running: Emulator, metadata: str) -> list[str]:
    _, listed, _ = running.api("GET", f"{_PATH}?limit=100")
    return [intent["id"] for intent in listed["data"] if intent["metadata"].get("order") == metadata]


def faulty(running: Emulator, **rule: object) -> None:
    running.faults(responses=[{"method": "POST", "path": _PATH, **rule}])


def test_twenty_at_once_make_one_intent(running: Emulator, key: str) -> None:
    """The same key twenty times at once: one intent; the others are 409 while it is made, or its replay."""
    faulty(running, times=1000, delay_ms=1000)
    form = f"amount=2500&currency=eur&metadata[order]={key}"
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: running.api("POST", _PATH, form, key=key), range(20)))
    made = [body["id"] for status, body, _ in answers if status == 200]
    assert set(made) == set(intents_of(running, key))
    assert len(set(made)) == 1
    refused = [body["error"]["code"] for status, body, _ in answers if status == 409]
    assert set(refused) == {"idempotency_key_in_use"}
    assert len(made) + len(refused) == 20


def test_a_replay_is_the_first_answer(running: Emulator, key: str) -> None:
    """Same key, same parameters: the first answer word for word, whatever has become of the intent since."""
    _, first, headers = running.api("POST", _PATH, _FORM, key=key)
    assert "Idempotent-Replayed" not in headers
    running.api("POST", f"{_PATH}/{first['id']}/cancel")
    status, second, replayed = running.api("POST", _PATH, _FORM, key=key)
    assert (status, second) == (200, first)
    assert (replayed["Idempotent-Replayed"], replayed["Original-Request"]) == ("true", headers["Request-Id"])
    assert replayed["Request-Id"] != headers["Request-Id"]


def test_a_key_belongs_to_its_request(running: Emulator, key: str) -> None:
    """Same key, other parameters or another address: 400 idempotency_error, and nothing is done."""
    running.api("POST", _PATH, _FORM, key=key)
    for path, form in ((_PATH, "amount=2501&currency=eur"), ("/v1/refunds", _FORM)):
        status, body, _ = running.api("POST", path, form, key=key)
        assert (status, body["error"]["type"]) == (400, "idempotency_error")
    with pytest.raises(stripe.IdempotencyError):
        running.client().v1.payment_intents.create(
            {"amount": 1000, "currency": "eur"}, {"idempotency_key": key}
        )
    assert running.api("POST", _PATH, _FORM, key="k" * 256)[0] == 400


def test_a_500_is_replayed(running: Emulator, key: str) -> None:
    """A 500 is the answer under its key from then on, and made nothing; another key goes through."""
    faulty(running, status=500)
    form = f"amount=2500&currency=eur&metadata[order]={key}"
    for replayed in (None, "true"):
        status, body, headers = running.api("POST", _PATH, form, key=key)
        assert (status, body["error"]["type"], headers.get("Idempotent-Replayed")) == (
            500,
            "api_error",
            replayed,
        )
    assert intents_of(running, key) == []
    assert running.api("POST", _PATH, form, key=f"{key}:2")[0] == 200


@pytest.mark.parametrize("status", [409, 429, 503])
def test_a_refusal_before_the_work_is_not_kept(running: Emulator, key: str, status: int) -> None:
    """429, 409 and an outage at the edge are answered once: the same key goes through afterwards."""
    faulty(running, status=status, times=2)
    assert [running.api("POST", _PATH, _FORM, key=key)[0] for _ in range(4)] == [status, status, 200, 200]


def test_failed_validation_is_not_kept(running: Emulator, key: str) -> None:
    """A refused parameter leaves the key free."""
    assert running.api("POST", _PATH, "amount=x&currency=eur", key=key)[0] == 400
    assert running.api("POST", _PATH, _FORM, key=key)[0] == 200


def test_a_decline_is_kept(running: Emulator, key: str) -> None:
    """A decline is a result: the same key replays it, and the card is not charged again."""
    form = "amount=2500&currency=eur&payment_method=pm_card_visa_chargeDeclined&confirm=true"
    first = running.api("POST", _PATH, form, key=key)
    second = running.api("POST", _PATH, form, key=key)
    assert (first[0], second[0]) == (402, 402)
    assert first[1] == second[1]
    intent_id = first[1]["error"]["payment_intent"]["id"]
    assert len(running.api("GET", f"/v1/charges?payment_intent={intent_id}")[1]["data"]) == 1


def test_a_timeout_after_the_work_has_done_it(running: Emulator, key: str) -> None:
    """timeout_after closes the connection, whatever the status; the same key then answers what was done."""
    faulty(running, timeout_after=True, status=500)
    form = f"amount=2500&currency=eur&metadata[order]={key}"
    with pytest.raises(ConnectionError):
        running.api("POST", _PATH, form, key=key)
    made = intents_of(running, key)
    assert len(made) == 1
    status, body, headers = running.api("POST", _PATH, form, key=key)
    assert (status, [body["id"]], headers["Idempotent-Replayed"]) == (200, made, "true")


def test_a_timeout_before_the_work_has_done_nothing(running: Emulator, key: str) -> None:
    """timeout_before closes the connection before anything happened, and the key is free."""
    faulty(running, timeout_before=True)
    form = f"amount=2500&currency=eur&metadata[order]={key}"
    with pytest.raises(ConnectionError):
        running.api("POST", _PATH, form, key=key)
    assert intents_of(running, key) == []
    status, _, headers = running.api("POST", _PATH, form, key=key)
    assert (status, headers.get("Idempotent-Replayed")) == (200, None)


def test_the_sdk_retries_its_way_through(running: Emulator, key: str) -> None:
    """Stripe's SDK, with retries, gets through an answer that was lost and then a 429, with one intent."""
    running.faults(
        responses=[
            {"method": "POST", "path": _PATH, "timeout_after": True},
            {"method": "POST", "path": _PATH, "status": 409},
        ]
    )
    made = running.client(retries=2).v1.payment_intents.create(
        {"amount": 2500, "currency": "eur", "metadata": {"order": key}}, {"idempotency_key": key}
    )
    assert intents_of(running, key) == [made.id]


def test_a_rule_strikes_what_it_names(running: Emulator) -> None:
    """A rule strikes its method and path, so many times, and others not at all."""
    running.faults(responses=[{"method": "POST", "path": "/v1/refunds", "status": 429, "times": 2}])
    assert running.api("POST", _PATH, _FORM)[0] == 200
    assert running.api("GET", "/v1/refunds?limit=1")[0] == 200
    assert running.api("POST", "/v1/refunds?x=1", "")[0] == 429
    assert running.call("GET", "/_emulator/faults")[1]["responses"][0]["times"] == 1


def test_a_rule_can_leave_it_to_chance(running: Emulator) -> None:
    """With a probability of one half a rule strikes some requests and spares others."""
    running.faults(responses=[{"status": 429, "times": 1000, "probability": 0.5}])
    with requests.Session() as session:
        statuses = {
            session.get(f"{running.url}/v1/refunds", auth=(SECRET_KEY, ""), timeout=20).status_code
            for _ in range(40)
        }
    assert statuses == {200, 429}


def test_a_delay_only_delays(running: Emulator, key: str) -> None:
    """delay_ms answers later and is otherwise no fault."""
    faulty(running, delay_ms=80)
    status, _, _ = running.api("POST", _PATH, _FORM, key=key)
    assert status == 200
