"""Buyers of one hot slot, a connection each, in a process of its own: `python -m bench.callers URL SLOT THREADS BEGIN SECONDS`.

They begin together at BEGIN (seconds since the epoch), end SECONDS later, and print the milliseconds of each hold.
"""

import json
import sys
import threading
import time
from datetime import timedelta
from uuid import uuid4

from database import holds
from database.connection import Connection, Database

HASH = "0" * 64


def buy(database: Database, slot: str, begin: float, end: float, taken: list[float]) -> None:
    """Holds one unit after the other through `database`, each for a new customer."""

    def hold(conn: Connection) -> str:
        return holds.reserve_tickets(
            conn,
            reservation_id=uuid4(),
            email=f"buyer-{uuid4()}@example.com",
            name="Ada Example",
            phone=None,
            items=[{"slot_id": slot, "units": 1, "add_ons": []}],
            hold=timedelta(minutes=15),
            ceiling=timedelta(minutes=30),
            key=str(uuid4()),
            request_hash=HASH,
            context={"actor": "bench", "request_id": "bench"},
        )["outcome"]

    database.run(lambda conn: conn.execute("SELECT 1"))
    time.sleep(max(begin - time.time(), 0))
    while time.time() < end:
        began = time.perf_counter()
        if database.run(hold) == "held":
            taken.append((time.perf_counter() - began) * 1000)


def main(url: str, slot: str, threads: int, begin: float, seconds: float) -> None:
    """The command line."""
    taken: list[float] = []
    buyers = [
        threading.Thread(target=buy, args=(Database(url), slot, begin, begin + seconds, taken))
        for _ in range(threads)
    ]
    for buyer in buyers:
        buyer.start()
    for buyer in buyers:
        buyer.join()
    json.dump(taken, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
