"""Everything, or its database, is killed -9 in the middle of a sale."""

import random
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

import requests
import stripe

from local.state import State
from tests.emulator_process import eventually
from tests.faults.cloud import RUN_PATIENCE_S, Cloud

BUYERS = 10
SEATS = 5000  # more than a sale takes, so that one that goes on is seen to go on


class Sale:
    """Buyers who hold, pay and walk away until they are called off; what they were answered is counted."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.slot = cloud.slot(SEATS)
        self.answers = Counter[int]()
        self.paid: list[str] = []
        self.is_over = threading.Event()

    def buy(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self.is_over.is_set():
            try:
                self.buy_once(chance)
            except (requests.RequestException, stripe.StripeError):
                self.answers[0] += 1  # nobody was there, or the connection broke: the buyer cannot know
                time.sleep(0.05)

    def buy_once(self, chance: random.Random) -> None:
        held = self.cloud.try_hold(self.slot)
        self.answers[held.status_code] += 1
        if held.status_code != 201:
            time.sleep(0.05)
            return
        token = {"X-Reservation-Token": held.json()["token"]}
        hold_id = held.json()["id"]
        if chance.random() < 0.3:
            ended = self.cloud.call("DELETE", f"/reservations/reservations/{hold_id}", headers=token)
            self.answers[ended.status_code] += 1
            return
        paying = self.cloud.call("POST", "/create-payment-intent/", {"reservation_id": hold_id}, token)
        self.answers[paying.status_code] += 1
        if paying.status_code in (200, 201) and chance.random() < 0.6:
            self.cloud.confirm(paying.json()["payment_intent_id"])
            self.paid.append(hold_id)


@contextmanager
def a_sale(cloud: Cloud) -> Generator[Sale]:
    sale = Sale(cloud)
    buyers = [threading.Thread(target=sale.buy, args=[seed]) for seed in range(BUYERS)]
    for buyer in buyers:
        buyer.start()
    try:
        eventually(lambda: len(sale.paid) >= 6, within=90)
        yield sale
    finally:
        sale.is_over.set()
        for buyer in buyers:
            buyer.join()


def check(cloud: Cloud, sale: Sale) -> None:
    """Every promise, and the buyers' own: whoever paid has a booking."""
    cloud.rows(
        "UPDATE ticket_reservations SET expires_at = now() - interval '1 second' WHERE status = 'active'"
    )
    assert cloud.broken_promises() == []
    booked = "SELECT count(*) FROM bookings WHERE reservation_id = ANY (%s::uuid[]) AND status = 'confirmed'"
    assert cloud.value(booked, sale.paid) == len(sale.paid)
    assert cloud.value("SELECT held_units FROM slots WHERE id = %s", sale.slot) == 0


def test_a_cloud_killed_in_a_sale_keeps_every_promise(own_cloud: Cloud) -> None:
    """All of it killed -9 while it sells, and started again on the same state: nothing is lost or sold twice."""
    with a_sale(own_cloud) as sale:
        own_cloud.kill()
        sale.is_over.set()

    eventually(lambda: State(own_cloud.state).holder() is None)
    own_cloud.up()

    check(own_cloud, sale)
    assert own_cloud.hold().id


def test_a_database_killed_under_load_is_away_politely_and_loses_nothing(cloud: Cloud) -> None:
    """PostgreSQL killed -9 under load: callers hear 503 or 409, never 500; when it is back, every promise holds."""
    with a_sale(cloud) as sale:
        for _ in range(2):
            started_at, pid = cloud.database_started_at(), cloud.pids["postgres"]
            cloud.kill("postgres")
            eventually(
                lambda old=started_at: cloud.database_started_at() not in (None, old), within=RUN_PATIENCE_S
            )
            eventually(lambda old=pid: cloud.pids["postgres"] != old)
            paid = len(sale.paid)
            eventually(lambda paid=paid: len(sale.paid) > paid, within=90)

    assert set(sale.answers) <= {200, 201, 409, 503}, sale.answers
    check(cloud, sale)
