"""Stripe and our own code fail in the middle of a purchase."""

import pytest

from tests.emulator_process import eventually
from tests.faults.cloud import Cloud

TIMES_ASKED = 3


@pytest.mark.parametrize("mode", ["payment_intent", "checkout_session"])
def test_a_payment_whose_answer_was_lost_is_found_again(cloud: Cloud, mode: str) -> None:
    """Stripe does the work and the answer never comes: 503 and `unknown`; the retry finds it, and there is one."""
    hold = cloud.hold()
    path = "/v1/payment_intents" if mode == "payment_intent" else "/v1/checkout/sessions"
    lost = {"method": "POST", "path": path, "times": TIMES_ASKED, "timeout_after": True}
    cloud.faults(deliver=False, responses=[lost])

    failed = cloud.pay(hold, "key", mode=mode)

    assert (failed.status_code, failed.json()["type"]) == (503, "/problems/payment-provider-unavailable")
    assert "Retry-After" in failed.headers
    status = "SELECT status FROM payment_intents_log WHERE reservation_id = %s"
    assert cloud.value(status, hold.id) == "unknown"
    again = cloud.pay(hold, "key", mode=mode)
    assert again.status_code == 201
    assert again.json()["payment_id"] == str(cloud.value("SELECT payment_id FROM ticket_reservations WHERE id = %s", hold.id))  # fmt: skip
    listed = (
        cloud.stripe_client.v1.payment_intents
        if mode == "payment_intent"
        else cloud.stripe_client.v1.checkout.sessions
    )
    made = [
        one for one in listed.list({"limit": 100}).auto_paging_iter()
        if one.metadata and one.metadata.to_dict().get("holdfast_reservation_id") == hold.id
    ]  # fmt: skip
    assert [one.id for one in made] == [again.json()["payment_intent_id" if mode == "payment_intent" else "checkout_session_id"]]  # fmt: skip
    cloud.faults()
    assert cloud.broken_promises() == []


def test_an_event_whose_handler_failed_is_applied_when_stripe_comes_again(cloud: Cloud) -> None:
    """The effect fails inside the transaction: nothing of it stays, the event is kept as failed, and then processed."""
    hold = cloud.hold()
    intent_id = cloud.pay(hold).json()["payment_intent_id"]
    cloud.delivered()
    cloud.rows("ALTER FUNCTION insert_booking RENAME TO insert_booking_away")
    try:
        cloud.confirm(intent_id)
        event = "SELECT status, attempts FROM webhook_events_log WHERE event_type = 'payment_intent.succeeded' AND payload -> 'data' -> 'object' ->> 'id' = %s"  # fmt: skip
        eventually(lambda: cloud.rows(event, intent_id))
        assert cloud.rows(event, intent_id)[0][0] == "failed"
        assert (cloud.status(hold), cloud.seats(hold)) == ("active", (1, 0))
    finally:
        cloud.rows("ALTER FUNCTION insert_booking_away RENAME TO insert_booking")

    assert cloud.broken_promises() == []
    assert (cloud.status(hold), cloud.seats(hold)) == ("completed", (0, 1))
    ((status, attempts),) = cloud.rows(event, intent_id)
    assert status == "processed"
    assert attempts > 1


def test_stripe_failing_while_a_hold_is_closed_keeps_its_seats(cloud: Cloud) -> None:
    """Nobody can say whether the payment is closed: the seats stay, and the next clean-up ends it."""
    hold = cloud.hold()
    intent_id = cloud.pay(hold).json()["payment_intent_id"]
    cloud.delivered()  # a clean-up passes by a payment that an event is at, and leaves it to the next one
    path = f"/v1/payment_intents/{intent_id}"
    cancel = {"method": "POST", "path": f"{path}/cancel", "times": TIMES_ASKED, "timeout_after": True}
    look = {"method": "GET", "path": path, "times": TIMES_ASKED, "timeout_before": True}
    cloud.faults(deliver=False, responses=[cancel, look])
    cloud.expire(hold)

    assert cloud.invoke("reservation-cleanup").json()["kept"] == 1
    assert (cloud.status(hold), cloud.seats(hold)) == ("active", (1, 0))
    cloud.faults(deliver=False)
    cloud.leases_over()
    assert cloud.invoke("reservation-cleanup").json()["released"] == 1
    assert (cloud.status(hold), cloud.seats(hold)) == ("expired", (0, 0))
    cloud.faults()
    assert cloud.broken_promises() == []
