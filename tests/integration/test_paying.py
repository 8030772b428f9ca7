"""`create-payment-intent`: one live payment a hold, whatever the keys, the tabs and the failures on the way."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from stripe_gateway.gateway import StripeGateway, StripePayment
from tests.emulator_process import eventually
from tests.support.app import App, Hold, new_key
from tests.support.lambda_events import Answer
from tests.support.postgres import on_every_postgres

INTENTS = "/v1/payment_intents"
SESSIONS = "/v1/checkout/sessions"


def live(app: App, hold: Hold) -> list[str]:
    """The intents of the hold that could still be paid."""
    return [intent.id for intent in app.intents(hold) if intent.status != "canceled"]


@on_every_postgres
def test_a_payment_intent_is_made_for_the_servers_amount(app: App) -> None:
    """201 with everything that the page needs; Stripe has the same amount and our ids."""
    hold = app.hold(app.slot(), 2)

    answer = app.pay(hold)

    assert answer.status == 201
    body = answer.body
    assert list(body) == [
        "payment_id",
        "payment_intent_id",
        "client_secret",
        "amount",
        "currency",
        "status",
        "expires_at",
    ]
    assert (body["amount"], body["currency"], body["status"]) == (9000, "eur", "requires_payment_method")
    (intent,) = app.intents(hold)
    assert (intent.id, intent.client_secret) == (body["payment_intent_id"], body["client_secret"])
    assert (intent.amount, intent.currency) == (9000, "eur")
    assert intent.metadata["holdfast_payment_id"] == body["payment_id"]
    assert app.row(
        "SELECT id::text, payment_intent_id, status, amount, currency FROM payment_intents_log"
    ) == (
        body["payment_id"],
        intent.id,
        "requires_payment_method",
        9000,
        "eur",
    )
    assert app.violations() == []


@on_every_postgres
def test_a_checkout_session_is_made_for_the_servers_amount(app: App) -> None:
    """201 with the page's address; Stripe has the same amount."""
    hold = app.hold(app.slot(), 2)
    answer = app.pay(hold, mode="checkout_session")
    assert answer.status == 201
    body = answer.body
    assert list(body) == [
        "payment_id",
        "checkout_session_id",
        "url",
        "amount",
        "currency",
        "status",
        "expires_at",
    ]
    session = app.stripe_client.v1.checkout.sessions.retrieve(body["checkout_session_id"])
    assert (session.url, session.amount_total, session.currency) == (body["url"], 9000, "eur")
    assert session.metadata is not None
    assert session.metadata["holdfast_payment_id"] == body["payment_id"]


def test_the_hold_is_extended_to_the_payment_window_but_not_past_its_ceiling(app: App) -> None:
    """Paying gives the buyer ten minutes at least, never more than thirty from the hold; it never shortens one."""
    hold = app.hold(app.slot())
    before = app.value("SELECT expires_at FROM ticket_reservations")
    assert datetime.fromisoformat(app.pay(hold).body["expires_at"]) == before

    app.rows("UPDATE ticket_reservations SET expires_at = now() + interval '1 minute'")
    extended = datetime.fromisoformat(app.pay(hold).body["expires_at"])
    assert timedelta(minutes=9) < extended - datetime.now().astimezone() <= timedelta(minutes=10, seconds=2)
    assert app.value("SELECT expires_at FROM ticket_reservations") == extended

    app.rows(
        "UPDATE ticket_reservations SET expires_at = now() + interval '1 minute', ceiling_at = now() + interval '3 minutes'"
    )
    capped = datetime.fromisoformat(app.pay(hold).body["expires_at"])
    assert app.value("SELECT ceiling_at FROM ticket_reservations") == capped


@pytest.mark.parametrize("mode", ["payment_intent", "checkout_session"])
def test_the_same_key_is_answered_byte_for_byte(app: App, mode: str) -> None:
    """A replay is equal to the last byte, its secret fetched again; the stored answer has no secret."""
    hold, key = app.hold(app.slot()), new_key()
    first = app.pay(hold, key=key, mode=mode)
    second = app.pay(hold, key=key, mode=mode)
    assert (first.status, second.status) == (201, 201)
    assert first.text == second.text
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert "_secret_" not in str(app.dump())


def test_a_replay_is_the_stored_answer_whatever_has_happened_since(app: App) -> None:
    """Paid, over or cancelled: the answer under the key stays what it was."""
    hold, key = app.hold(app.slot()), new_key()
    first = app.pay(hold, key=key)
    app.expire(hold)
    app.invoke("reservation-cleanup")
    assert app.status(hold) == "expired"
    again = app.pay(hold, key=key)
    assert (again.status, again.text) == (201, first.text)
    assert app.pay(hold, key=new_key()).problem == "reservation-expired"


@on_every_postgres
def test_another_body_under_the_key_is_422(app: App) -> None:
    """The same key with another amount: nothing is written, and Stripe is not called."""
    hold, key = app.hold(app.slot()), new_key()
    assert app.pay(hold, key=key).status == 201
    before = app.dump()
    app.faults({"method": "POST", "times": 9, "status": 500})

    answer = app.pay(hold, key=key, expected_amount=4500)

    assert (answer.status, answer.problem) == (422, "idempotency-key-reused")
    assert app.dump() == before
    assert len(app.intents(hold)) == 1


def test_a_first_call_with_a_wrong_amount_writes_nothing(app: App) -> None:
    """422 amount-mismatch: no payment row, no key, no call of Stripe."""
    hold = app.hold(app.slot(), 2)
    for expected in (
        {"expected_amount": 9001},
        {"expected_currency": "usd"},
        {"expected_amount": 9000, "expected_currency": "chf"},
    ):
        answer = app.pay(hold, key=new_key(), **expected)
        assert (answer.status, answer.problem) == (422, "amount-mismatch")
    assert app.count("payment_intents_log") == app.count("idempotency_keys") == 0
    assert app.intents(hold) == []
    assert app.pay(hold, expected_amount=9000, expected_currency="eur").status == 201


@on_every_postgres
def test_two_tabs_share_one_payment(app: App) -> None:
    """A second call, under another key or none, is 200 with the same live payment."""
    hold = app.hold(app.slot())
    first = app.pay(hold, key=new_key())
    for key in (new_key(), None):
        again = app.pay(hold, key=key)
        assert again.status == 200
        assert again.body == first.body
    assert len(app.intents(hold)) == 1
    assert app.count("payment_intents_log") == 1


def test_a_second_call_under_another_key_is_replayed_as_it_was_answered(app: App) -> None:
    """What was 200 under its key stays 200."""
    hold, key = app.hold(app.slot()), new_key()
    app.pay(hold)
    answers = [app.pay(hold, key=key) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].text == answers[1].text
    assert answers[1].headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    ("first", "second"), [("payment_intent", "checkout_session"), ("checkout_session", "payment_intent")]
)
def test_the_other_mode_is_409_while_one_is_live(app: App, first: str, second: str) -> None:
    """409 payment-in-progress: never two ways to pay at once."""
    hold = app.hold(app.slot())
    assert app.pay(hold, mode=first).status == 201
    answer = app.pay(hold, mode=second)
    assert (answer.status, answer.problem) == (409, "payment-in-progress")


@pytest.mark.parametrize("same_key", [True, False])
def test_while_the_first_is_at_stripe_it_is_409(app: App, *, same_key: bool) -> None:
    """409 request-in-progress with Retry-After, under the same key and under another; then the first's payment."""
    hold, key = app.hold(app.slot()), new_key()
    app.faults({"method": "POST", "path": INTENTS, "times": 3, "timeout_after": True})
    assert app.pay(hold, key=key).status == 503
    app.rows("UPDATE payment_intents_log SET lease_until = now() + interval '1 hour'")
    app.faults()

    answer = app.pay(hold, key=key if same_key else None)

    assert (answer.status, answer.problem) == (409, "request-in-progress")
    assert int(answer.headers["Retry-After"]) > 0
    app.leases_over()
    assert app.pay(hold, key=key).status == 201
    assert len(app.intents(hold)) == 1


def refused(app: App, hold: Hold) -> tuple[int, str]:
    answer = app.pay(hold, key=new_key())
    return answer.status, answer.problem


@on_every_postgres
def test_a_hold_that_is_over_is_not_payable_at_once(app: App) -> None:
    """409 reservation-expired from the moment of its deadline, before and after the cleanup."""
    hold = app.hold(app.slot())
    app.expire(hold)
    assert refused(app, hold) == (409, "reservation-expired")
    app.invoke("reservation-cleanup")
    assert refused(app, hold) == (409, "reservation-expired")
    assert app.count("payment_intents_log") == 0


def test_a_cancelled_hold_is_not_payable(app: App) -> None:
    """409 reservation-cancelled."""
    hold = app.hold(app.slot())
    app.cancel(hold)
    assert refused(app, hold) == (409, "reservation-cancelled")


def test_what_is_paid_is_not_paid_again(app: App) -> None:
    """409 already-paid, and Stripe has one intent."""
    payment = app.booked(app.slot())
    assert refused(app, payment.hold) == (409, "already-paid")
    assert len(app.intents(payment.hold)) == 1


def test_what_costs_nothing_is_not_paid(app: App) -> None:
    """409 nothing-to-pay for an amount of 0."""
    assert refused(app, app.hold(app.slot(unit_amount=0))) == (409, "nothing-to-pay")


@pytest.mark.parametrize(
    ("currency", "amount", "status"),
    [
        ("eur", 49, 422),
        ("eur", 50, 201),
        ("eur", 99_999_999, 201),
        ("eur", 100_000_000, 422),
        ("jpy", 49, 422),
        ("jpy", 50, 201),
        ("kwd", 1005, 422),
        ("kwd", 1010, 201),
        ("isk", 150, 422),
        ("isk", 200, 201),
        ("xxx", 5000, 422),
    ],
)
def test_what_stripe_cannot_charge_is_422(app: App, currency: str, amount: int, status: int) -> None:
    """Below the currency's minimum, above its maximum, off its step or unknown: 422 amount-not-chargeable."""
    hold = app.hold(app.slot(currency=currency, unit_amount=amount))
    answer = app.pay(hold)
    assert answer.status == status, answer
    if status == 422:
        assert answer.problem == "amount-not-chargeable"
        assert app.count("payment_intents_log") == 0


def test_without_the_token_there_is_nothing_to_pay(app: App) -> None:
    """404 without the token, with another hold's, and for a hold that is not there."""
    slot = app.slot()
    hold, other = app.hold(slot), app.hold(slot)
    for reservation, token in [(hold.id, None), (hold.id, other.token), (str(uuid4()), hold.token)]:
        headers = {"x-reservation-token": token} if token else {}
        answer = app.call("create-payment-intent", "POST", "/", {"reservation_id": reservation}, headers)
        assert (answer.status, answer.problem) == (404, "unknown-reservation")
    assert app.count("payment_intents_log") == 0


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "paypal"},
        {"mode": None},
        {"expected_amount": -1},
        {"expected_amount": "45"},
        {"expected_amount": 45.0},
        {"expected_amount": 10**30},
        {"expected_currency": "EUR"},
        {"expected_currency": "euro"},
        {"reservation_id": "x"},
        {"reservation_id": 7},
        {"amount": 1},
    ],
)
def test_a_field_that_does_not_fit_is_named(app: App, change: dict[str, Any]) -> None:
    """422 points at the field that is wrong; the amount is not the caller's to send."""
    hold = app.hold(app.slot())
    answer = app.call(
        "create-payment-intent", "POST", "/", {"reservation_id": hold.id} | change, hold.headers
    )
    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert answer.body["errors"][0]["pointer"] == "/" + next(iter(change))


@pytest.mark.parametrize("key", ["", "ü", "k" * 256, "a b"])
def test_a_key_that_will_not_do_is_400(app: App, key: str) -> None:
    """1 to 255 visible ASCII characters; here a short one will do."""
    hold = app.hold(app.slot())
    body = {"reservation_id": hold.id}
    answer = app.call("create-payment-intent", "POST", "/", body, hold.headers | {"idempotency-key": key})
    assert (answer.status, answer.problem) == (400, "invalid-idempotency-key")
    assert app.pay(hold, key="k").status == 201


def test_a_key_belongs_to_its_hold(app: App) -> None:
    """The same key on another hold is another key."""
    slot, key = app.slot(), new_key()
    one, two = app.hold(slot), app.hold(slot)
    assert app.pay(one, key=key).body["payment_id"] != app.pay(two, key=key).body["payment_id"]


def test_only_success_is_stored_under_a_key(app: App) -> None:
    """A refusal under a key is not remembered: with the hold extended by an operator the same call succeeds."""
    hold, key = app.hold(app.slot()), new_key()
    app.expire(hold)
    assert app.pay(hold, key=key).problem == "reservation-expired"
    app.rows("UPDATE ticket_reservations SET expires_at = now() + interval '5 minutes'")
    assert app.pay(hold, key=key).status == 201


# Stripe fails.

MODES = pytest.mark.parametrize(
    ("mode", "path"), [("payment_intent", INTENTS), ("checkout_session", SESSIONS)]
)


def made(app: App, hold: Hold, mode: str) -> int:
    """How many payments of the hold Stripe has that could be paid."""
    if mode == "payment_intent":
        return len(live(app, hold))
    listed = app.stripe_client.v1.checkout.sessions.list({"limit": 100}).auto_paging_iter()
    return len([s for s in listed if s.client_reference_id == hold.id and s.status == "open"])


@MODES
@on_every_postgres
def test_a_payment_that_stripe_made_without_saying_is_found_again(app: App, mode: str, path: str) -> None:
    """Stripe times out after the work: 503 and `unknown`; the retry finds the payment, never a second."""
    hold, key = app.hold(app.slot()), new_key()
    app.faults({"method": "POST", "path": path, "times": 3, "timeout_after": True})

    answer = app.pay(hold, key=key, mode=mode)

    assert (answer.status, answer.problem) == (503, "payment-provider-unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert app.value("SELECT status FROM payment_intents_log") == "unknown"
    again = app.pay(hold, key=key, mode=mode)
    assert again.status == 201
    assert made(app, hold, mode) == 1
    assert app.pay(hold, key=key, mode=mode).text == again.text


@MODES
def test_one_lost_answer_is_not_even_noticed(app: App, mode: str, path: str) -> None:
    """The SDK asks again under the same key."""
    hold = app.hold(app.slot())
    app.faults({"method": "POST", "path": path, "times": 1, "timeout_after": True})
    assert app.pay(hold, mode=mode).status == 201
    assert made(app, hold, mode) == 1


@MODES
def test_a_stored_500_is_looked_behind_and_then_passed_by(app: App, mode: str, path: str) -> None:
    """Stripe replays a 500 under its key for a day: the payment is made under the next key, once."""
    hold, key = app.hold(app.slot()), new_key()
    app.faults({"method": "POST", "path": path, "times": 1, "status": 500})

    answer = app.pay(hold, key=key, mode=mode)

    assert answer.status == 201, answer
    assert made(app, hold, mode) == 1
    assert app.row(
        "SELECT key_number, idempotency_key = 'payment:' || id || ':2' FROM payment_intents_log"
    ) == (2, True)
    assert app.pay(hold, key=key, mode=mode).text == answer.text


def test_429_is_asked_again_under_the_same_key(app: App) -> None:
    """Stripe answers 429 for a while: 503, and the buyer's same key goes through later with one live intent."""
    hold, key = app.hold(app.slot()), new_key()
    app.faults({"method": "POST", "path": INTENTS, "times": 9, "status": 429})
    assert app.pay(hold, key=key).problem == "payment-provider-unavailable"
    app.faults()
    assert app.pay(hold, key=key).status == 201
    assert app.value("SELECT key_number FROM payment_intents_log") == 1
    assert len(live(app, hold)) == 1


def test_500_all_the_time_is_503_and_one_payment_later(app: App) -> None:
    """Every key fails: 503 with Retry-After; later the same key of the buyer succeeds, with one live intent."""
    hold, key = app.hold(app.slot()), new_key()
    app.faults({"method": "POST", "path": INTENTS, "times": 99, "status": 500})
    for _ in range(2):
        answer = app.pay(hold, key=key)
        assert (answer.status, answer.problem) == (503, "payment-provider-unavailable")
    app.faults()
    assert app.pay(hold, key=key).status == 201
    assert len(live(app, hold)) == 1


def test_stripe_away_is_503(app: App) -> None:
    """Nobody listens at Stripe's address: 503 with Retry-After, the payment unknown, later one payment."""
    hold, key = app.hold(app.slot()), new_key()
    app.set(STRIPE_API_BASE="http://127.0.0.1:9")
    answer = app.pay(hold, key=key)
    assert (answer.status, answer.problem) == (503, "payment-provider-unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    app.set(STRIPE_API_BASE=app.emulator.url)
    assert app.pay(hold, key=key).status == 201


def test_a_payment_older_than_stripes_memory_is_looked_for_first(app: App) -> None:
    """After a day Stripe has forgotten the key: what was made under it is found, not made again."""
    hold = app.hold(app.slot())
    app.faults({"method": "POST", "path": INTENTS, "times": 3, "timeout_after": True})
    assert app.pay(hold).status == 503
    app.faults()
    (intent,) = app.intents(hold)
    # A minute older than the memory that is relied on; the intent's own time is not moved, so it is found "since".
    app.rows("UPDATE payment_intents_log SET created_at = created_at - interval '23 hours 1 minute'")
    assert app.pay(hold).body["payment_intent_id"] == intent.id
    assert len(app.intents(hold)) == 1


def test_what_stripe_refuses_leaves_the_hold_payable(app: App) -> None:
    """Stripe refuses for good: nothing was made, the hold goes on without that payment, and another try may succeed."""
    hold = app.hold(app.slot())
    app.faults({"method": "POST", "path": INTENTS, "times": 1, "status": 400})
    answer = app.pay(hold, key=new_key())
    assert (answer.status, answer.problem) == (503, "payment-provider-unavailable")
    assert app.status(hold) == "active"
    assert app.count("idempotency_keys") == 1
    assert app.pay(hold).status == 201
    assert len(live(app, hold)) == 1
    assert app.violations() == []


# The buyer at the card form.


def test_a_declined_card_leaves_hold_and_intent_alive(app: App) -> None:
    """The card is declined: the hold lives on, and the next try on the same intent works."""
    slot = app.slot()
    payment = app.payment(app.hold(slot))
    with pytest.raises(Exception, match="declined"):
        app.confirm(payment, "pm_card_visa_chargeDeclined")
    failed = app.event(payment.intent_id, "payment_intent.payment_failed")
    assert app.outcome(failed) == "processed"
    assert app.status(payment.hold) == "active"
    assert app.pay(payment.hold).body["payment_intent_id"] == payment.intent_id

    app.confirm(payment)

    assert app.outcome(app.event(payment.intent_id, "payment_intent.succeeded")) == "processed"
    assert app.counts(slot) == (0, 1, 0, 1)


def test_an_intent_cancelled_at_stripe_makes_way_for_another(app: App) -> None:
    """Somebody cancelled the intent in Stripe's dashboard: that row is over, and the hold is paid by a new one."""
    hold = app.hold(app.slot())
    payment = app.payment(hold)
    assert payment.intent_id is not None
    app.stripe_client.v1.payment_intents.cancel(payment.intent_id)

    answers: list[Answer] = [app.pay(hold)]
    if answers[0].status == 409:
        assert answers[0].problem == "request-in-progress"
        answers.append(app.pay(hold))

    assert answers[-1].status == 201
    assert answers[-1].body["payment_intent_id"] != payment.intent_id
    assert len(live(app, hold)) == 1
    assert app.violations() == []


# The hold ends while the payment is being made.


@pytest.mark.parametrize("mode", ["payment_intent", "checkout_session"])
def test_a_hold_cancelled_while_stripe_is_asked_takes_its_payment_along(
    app: App, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled between the first and the last step: both callers are told, the new payment is closed, the seats go."""
    slot = app.slot()
    hold = app.hold(slot)
    cancelled, create = threading.Event(), StripeGateway.create

    def create_late(gateway: StripeGateway, *arguments: Any) -> StripePayment:
        assert cancelled.wait(30)
        return create(gateway, *arguments)

    monkeypatch.setattr(StripeGateway, "create", create_late)
    with ThreadPoolExecutor(1) as pool:
        paying = pool.submit(app.pay, hold, mode=mode)
        eventually(lambda: app.count("payment_intents_log"))
        assert app.cancel(hold).problem == "payment-provider-unavailable"
        cancelled.set()
        answer = paying.result()

    assert (answer.status, answer.problem) == (409, "reservation-cancelled")
    assert made(app, hold, mode) == 0
    assert app.status(hold) == "cancelled"
    assert app.counts(slot) == (0, 0, 0, 0)
    assert app.cancel(hold).status == 200
    assert app.violations() == []
