"""A purchase and a cleanup through `sam local start-lambda`, behind the gateway of `make up`."""

import pytest

from tests.faults.cloud import Cloud

pytestmark = pytest.mark.sam_local


def test_a_purchase_ends_in_a_booking_by_stripes_webhook_alone(cloud: Cloud) -> None:
    hold = cloud.hold()
    paid = cloud.pay(hold)
    assert paid.status_code == 201, paid.text
    cloud.confirm(paid.json()["payment_intent_id"])
    cloud.delivered()
    assert cloud.status(hold) == "completed"
    assert cloud.seats(hold) == (0, 1)
    assert cloud.broken_promises() == []


def test_cleanup_ends_an_expired_hold_and_its_payment(cloud: Cloud) -> None:
    unpaid, opened = cloud.hold(), cloud.hold()
    assert cloud.pay(opened).status_code == 201
    for hold in (unpaid, opened):
        cloud.expire(hold)
    assert cloud.invoke("reservation-cleanup").json()["released"] == 2
    assert [cloud.status(hold) for hold in (unpaid, opened)] == ["expired", "expired"]
    assert [intent.status for intent in cloud.intents(opened)] == ["canceled"]
    assert cloud.broken_promises() == []
