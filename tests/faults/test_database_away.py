"""The database is killed and killed again: Stripe's events wait in the queue, or at Stripe, and each ends once."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import boto3
import psycopg
import pytest

from tests.emulator_process import eventually
from tests.faults.cloud import Cloud, Hold
from tests.support.commands import run

SUCCEEDED = "payment_intent.succeeded"
PATIENCE_S = 330.0  # a message whose function nobody heard of again is hidden for five minutes
KILLED_EVERY_S = 0.02

pytestmark = pytest.mark.timeout(4 * PATIENCE_S)


@contextmanager
def without(cloud: Cloud, *names: str) -> Generator[None]:
    """These services are killed as soon as they are started again; afterwards they are left to come back."""
    over = threading.Event()

    def kill() -> None:
        while not over.wait(KILLED_EVERY_S):
            cloud.kill(*names)

    cloud.kill(*names)
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        over.set()
        killer.join()


def paid_in_silence(cloud: Cloud) -> Hold:
    """A hold whose payment has succeeded, and Stripe has not told yet."""
    hold = cloud.hold()
    intent_id = cloud.pay(hold).json()["payment_intent_id"]
    cloud.faults(deliver=False)
    cloud.confirm(intent_id)
    return hold


def status(cloud: Cloud, hold: Hold) -> str:
    """Also while the database is still coming back."""
    try:
        return cloud.status(hold)
    except psycopg.OperationalError:
        return "nobody knows"


def queue(cloud: Cloud) -> Any:
    """SQS, as an operator uses it."""
    return boto3.client(
        "sqs",
        endpoint_url=cloud.stack["aws_endpoint_url"],
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )


def test_what_comes_while_the_database_is_killed_is_queued_and_booked_once(own_cloud: Cloud) -> None:
    """Stripe is answered 200 without a database; when it is back the queue books, and Stripe's second delivery does nothing."""
    holds = [paid_in_silence(own_cloud) for _ in range(3)]
    with without(own_cloud, "postgres"):
        own_cloud.faults(duplicate=1)
        own_cloud.delivered()
        # Killed again as soon as it is there again, which one look may meet.
        eventually(lambda: own_cloud.database_started_at() is None)
    eventually(lambda: all(status(own_cloud, hold) == "completed" for hold in holds), within=PATIENCE_S)
    assert [own_cloud.seats(hold) for hold in holds] == [(0, 1)] * 3
    assert own_cloud.value("SELECT count(*) FROM bookings") == 3
    assert own_cloud.value("SELECT count(*) FROM webhook_events_log WHERE payload::text LIKE '%%client_secret%%'") == 0  # fmt: skip
    assert own_cloud.broken_promises() == []


def test_without_a_queue_too_stripe_comes_again(own_cloud: Cloud) -> None:
    """Database and SQS are both away: 5xx, and Stripe's later delivery books it."""
    hold = paid_in_silence(own_cloud)
    with without(own_cloud, "postgres", "aws"):
        eventually(lambda: own_cloud.database_started_at() is None)
        own_cloud.faults()
        eventually(
            lambda: any(
                (delivery["type"], delivery["last_status"]) == (SUCCEEDED, 503)
                for delivery in own_cloud.undelivered()
            ),
            within=PATIENCE_S,
        )
    eventually(lambda: status(own_cloud, hold) == "completed", within=PATIENCE_S)
    assert own_cloud.seats(hold) == (0, 1)
    assert own_cloud.broken_promises() == []


def test_poison_ends_in_the_dead_letter_queue_and_redrive_brings_it_back(own_cloud: Cloud) -> None:
    """It holds up nobody, is given up after its tries, and is booked once its cause is mended and it is moved back."""
    sqs, inbox = queue(own_cloud), own_cloud.stack["webhook_inbox_queue_url"]
    dead_letters = f"{inbox}-dead-letters"

    def waiting(url: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        counted = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(counted[name]) for name in names)

    poisoned, other = paid_in_silence(own_cloud), paid_in_silence(own_cloud)
    own_cloud.rows(f"""
        CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''poison''; END';
        CREATE TRIGGER poison BEFORE INSERT ON bookings FOR EACH ROW
        WHEN (NEW.reservation_id = '{poisoned.id}') EXECUTE FUNCTION poison()
    """)
    with without(own_cloud, "postgres"):
        own_cloud.faults()
        own_cloud.delivered()
    eventually(lambda: status(own_cloud, other) == "completed", within=PATIENCE_S)
    failed = "SELECT reason FROM webhook_events_log WHERE status = 'failed'"
    eventually(lambda: own_cloud.rows(failed) == [("RaiseException",)], within=PATIENCE_S)
    # Two tries instead of the template's many, but only now: those that a slow start of the database cost do not count.
    target = sqs.get_queue_attributes(QueueUrl=dead_letters, AttributeNames=["QueueArn"])["Attributes"]
    tries_twice = f'{{"deadLetterTargetArn": "{target["QueueArn"]}", "maxReceiveCount": 2}}'
    sqs.set_queue_attributes(QueueUrl=inbox, Attributes={"RedrivePolicy": tries_twice})
    eventually(lambda: (waiting(inbox), waiting(dead_letters)) == (0, 1), within=PATIENCE_S)
    assert own_cloud.status(poisoned) == "active"
    assert own_cloud.rows(failed) == [("RaiseException",)]

    own_cloud.rows("DROP TRIGGER poison ON bookings")
    moved = run("scripts.redrive", "--state", own_cloud.state)

    assert moved.stdout == "1 moved to the inbox, 0 left in the dead-letter queue\n"
    eventually(lambda: own_cloud.status(poisoned) == "completed", within=PATIENCE_S)
    assert own_cloud.broken_promises() == []
