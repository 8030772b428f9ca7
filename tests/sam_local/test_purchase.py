"""A purchase and a cleanup through `sam local start-lambda`, behind the gateway of `make up`."""

import pytest

from tests.build.artefacts import FUNCTION_TYPE, Built
from tests.faults.cloud import Cloud
from tests.sam_local.engine import containers_over
from tests.sam_local.steps import step
from tests.sam_local.surroundings import Surroundings

pytestmark = pytest.mark.sam_local


def test_a_purchase_ends_in_a_booking_by_stripes_webhook_alone(cloud: Cloud, around: Surroundings) -> None:
    with step("a hold, its payment, Stripe's webhook"):
        hold = cloud.hold()
        paid = cloud.pay(hold)
        assert paid.status_code == 201, paid.text
        cloud.confirm(paid.json()["payment_intent_id"])
        cloud.delivered()
    assert cloud.status(hold) == "completed"
    assert cloud.seats(hold) == (0, 1)
    with step("what is left to do, and every promise"):
        assert cloud.broken_promises() == []
    told = [each.document for each in around.notified.received]
    assert [each["type"] for each in told if each.get("reservation_id") == hold.id] == ["booked"]


def test_cleanup_ends_an_expired_hold_and_its_payment(cloud: Cloud) -> None:
    with step("two holds, one with a payment; their time over; cleanup"):
        unpaid, opened = cloud.hold(), cloud.hold()
        assert cloud.pay(opened).status_code == 201
        cloud.delivered()  # cleanup leaves alone what a webhook is busy with
        for hold in (unpaid, opened):
            cloud.expire(hold)
        done = cloud.invoke("reservation-cleanup").json()
    assert done == {
        "released": 2,
        "confirmed": 0,
        "kept": 0,
        "failed": 0,
        "credits_expired": 0,
        "more": False,
    }
    assert [cloud.status(hold) for hold in (unpaid, opened)] == ["expired", "expired"]
    assert [cloud.seats(hold) for hold in (unpaid, opened)] == [(0, 0), (0, 0)]
    assert [intent.status for intent in cloud.intents(opened)] == ["canceled"]
    with step("what is left to do, and every promise"):
        assert cloud.broken_promises() == []


def test_a_container_sees_nothing_of_this_machine_but_what_was_built(cloud: Cloud, built: Built) -> None:
    """Its own function, read only; the layers are in its image."""
    assert cloud.call("GET", "/health/live").status_code == 200
    seen = {
        (mount["Source"], mount["Destination"], mount["RW"])
        for container in containers_over(built.folder)
        for mount in container["Mounts"]
    }
    own = {(str(built.task_root(name)), "/var/task", False) for name in built.of_type(FUNCTION_TYPE)}
    assert seen
    assert seen <= own
