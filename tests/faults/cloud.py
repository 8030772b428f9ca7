"""The machine-sized cloud as a test's victim: started, bought from, killed, and asked what became of its promises."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import requests
import stripe

from local.child import free_port
from local.promises import Promise, broken, check_promises
from tests.support.commands import run

PATIENCE_S = 60.0
RUN_PATIENCE_S = 120.0  # of a job that has much to do, on a busy machine
_numbers = count()


@dataclass(frozen=True)
class Hold:
    """A reservation as its buyer knows it."""

    id: str
    token: str
    slot_id: str


class Cloud:
    """One cloud in one folder; `up` and `down` as often as a test likes."""

    def __init__(self, state: Path, *, hold_minutes: int = 15) -> None:
        self.state = state
        self.hold_minutes = hold_minutes
        self.kill_file = state.with_name(f"{state.name}-kill-point")
        self.port = free_port()
        self.stack: dict[str, Any] = {}
        self._own = threading.local()

    def up(self) -> None:
        """Starts it, without schedules: what shall happen, the test does."""
        self._run(
            "up", "--detach", "--emulator", "--port", self.port, "--schedules", "off", "--rate-limits", "off",
            "--environments", 4, "--function-env", f"KILL_POINT_FILE={self.kill_file}",
            "--function-env", f"HOLD_MINUTES={self.hold_minutes}",
        )  # fmt: skip
        self.stack = json.loads((self.state / "stack.json").read_text())

    @classmethod
    @contextmanager
    def running(cls, state: Path, *, hold_minutes: int = 15) -> Generator["Cloud"]:
        """One that is up until it is left."""
        cloud = cls(state, hold_minutes=hold_minutes)
        cloud.up()
        try:
            yield cloud
        finally:
            cloud.down()

    def down(self) -> None:
        self._run("down")

    def _run(self, command: str, *arguments: object) -> None:
        done = run("local", command, "--state", self.state, *arguments)
        assert done.returncode == 0, done.stderr

    @property
    def pids(self) -> dict[str, int]:
        """Of the processes that stack.json names now."""
        return json.loads((self.state / "stack.json").read_text())["pids"]

    def kill(self, *names: str) -> None:
        """Kill -9 of these processes of stack.json; without a name of every one of them."""
        for name, pid in self.pids.items():
            if not names or name in names:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def die_at(self, point: str) -> None:
        """Whoever reaches this kill point next dies there."""
        self.kill_file.write_text(point)

    @property
    def has_died(self) -> bool:
        """Whether the armed kill point was reached."""
        return not self.kill_file.exists()

    # Callers.

    @staticmethod
    def served(ask: Callable[[], requests.Response]) -> requests.Response:
        """The answer; whom Lambda has no environment for in time asks again."""
        while "Rate Exceeded." in (answer := ask()).text:
            pass
        return answer

    @property
    def http(self) -> requests.Session:
        """This thread's own."""
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
        return self._own.session

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        patience_s: float = PATIENCE_S,
    ) -> requests.Response:
        """One request to `/<function>/...`."""
        url = f"{self.stack['base_url']}{path}"
        return self.served(
            lambda: self.http.request(method, url, json=body, headers=dict(headers or {}), timeout=patience_s)
        )

    def invoke(self, function: str) -> requests.Response:
        """One invocation, as the schedule's; the header `X-Amz-Function-Error` is there where it died."""
        path = f"/2015-03-31/functions/{function}/invocations"
        return self.call("POST", path, {}, patience_s=RUN_PATIENCE_S)

    def try_hold(self, slot_id: str, units: int = 1) -> requests.Response:
        body = {
            "items": [{"slot_id": slot_id, "units": units}],
            "customer": {"email": f"{uuid4().hex}@example.com", "name": "Ada"},
        }
        return self.call("POST", "/reservations/reservations", body)

    def hold(self, slot_id: str | None = None) -> Hold:
        """A hold that is granted; on a slot of its own unless one is named."""
        slot_id = slot_id or self.slot()
        answer = self.try_hold(slot_id)
        assert answer.status_code == 201, answer.text
        return Hold(answer.json()["id"], answer.json()["token"], slot_id)

    def pay(self, hold: Hold, key: str | None = None, *, mode: str = "payment_intent") -> requests.Response:
        headers = {"X-Reservation-Token": hold.token} | ({"Idempotency-Key": key} if key else {})
        return self.call(
            "POST", "/create-payment-intent/", {"reservation_id": hold.id, "mode": mode}, headers
        )

    def cancel(self, hold: Hold) -> requests.Response:
        return self.call(
            "DELETE", f"/reservations/reservations/{hold.id}", headers={"X-Reservation-Token": hold.token}
        )

    # Stripe.

    @property
    def stripe_client(self) -> stripe.StripeClient:
        account = self.stack["stripe"]
        return stripe.StripeClient(
            account["secret_key"], base_addresses={"api": account["api_base"]}, max_network_retries=2
        )

    def confirm(self, intent_id: str) -> None:
        """The buyer's card is charged; Stripe then sends its events by itself."""
        self.stripe_client.v1.payment_intents.confirm(intent_id, {"payment_method": "pm_card_visa"})

    def intents(self, hold: Hold) -> list[stripe.PaymentIntent]:
        """Every intent that Stripe has for the hold, whatever its status."""
        listed = self.stripe_client.v1.payment_intents.list({"limit": 100}).auto_paging_iter()
        return [i for i in listed if i.metadata.to_dict().get("holdfast_reservation_id") == hold.id]

    def faults(self, **script: object) -> None:
        """Replaces Stripe's fault script."""
        answer = requests.put(f"{self.stack['stripe']['api_base']}/_emulator/faults", json=script, timeout=10)
        assert answer.status_code == 200, answer.text

    def at_the_bank(self, path: str, **given: object) -> dict[str, Any]:
        """What a customer's bank, or a person in the dashboard, does: the emulator's act of this path."""
        answer = requests.post(f"{self.stack['stripe']['api_base']}/_emulator{path}", json=given, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def undelivered(self) -> list[dict[str, Any]]:
        """Events that Stripe still tries to deliver."""
        answer = requests.get(f"{self.stack['stripe']['api_base']}/_emulator/deliveries", timeout=10).json()
        return [delivery for delivery in answer if delivery["last_status"] != 200]

    def delivered(self) -> None:
        """Waits until Stripe has delivered all that it had to say."""
        give_up_at = time.monotonic() + RUN_PATIENCE_S
        while self.undelivered():
            assert time.monotonic() < give_up_at, self.undelivered()
            time.sleep(0.05)

    # The database, as its owner.

    def rows(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.stack["database_admin_url"], autocommit=True) as conn:
            cursor = conn.execute(query.encode(), params)
            return cursor.fetchall() if cursor.description else []

    def value(self, query: str, *params: object) -> Any:
        return self.rows(query, *params)[0][0]

    def database_started_at(self) -> datetime | None:
        """Since when the server runs; None while there is none that answers."""
        try:
            return self.value("SELECT pg_postmaster_start_time()")
        except psycopg.OperationalError:
            return None

    def slot(self, units: int = 1, *, offering: str = "autumn-concert") -> str:
        """A new slot, of the concert unless another offering is named."""
        return str(
            self.value(
                """
                INSERT INTO slots (offering_id, starts_at, ends_at, max_units, max_bookings)
                SELECT id, now() + interval '60 days', now() + interval '61 days', %s, %s
                FROM offerings WHERE slug = %s RETURNING id
                """,
                units,
                units,
                offering,
            )
        )

    def status(self, hold: Hold) -> str:
        return self.value("SELECT status FROM ticket_reservations WHERE id = %s", hold.id)

    def seats(self, hold: Hold) -> tuple[int, int]:
        """(held, sold) of the hold's slot."""
        return self.rows("SELECT held_units, sold_units FROM slots WHERE id = %s", hold.slot_id)[0]

    def expire(self, hold: Hold) -> None:
        """Lets its time be over, as operators do."""
        self.rows(
            "UPDATE ticket_reservations SET expires_at = now() - interval '1 second' WHERE id = %s", hold.id
        )

    def leases_over(self) -> None:
        """Lets the time pass that a dead owner's lease lasts."""
        self.rows(
            """
            UPDATE payment_intents_log SET lease_until = now(), next_ask_at = now(), next_reconcile_at = now()
            WHERE lease_until > now() OR next_ask_at > now() OR next_reconcile_at > now();
            UPDATE webhook_events_log SET next_attempt_at = now() WHERE next_attempt_at > now();
            UPDATE outbox SET lease_until = now(), next_attempt_at = now() WHERE status = 'pending'
            """
        )

    # The end.

    def come_to_rest(self) -> None:
        """What time alone would do: Stripe comes again, leases end, the schedules run."""
        self.delivered()
        self.leases_over()
        for function in ("reservation-cleanup", "reconcile-payments", "deliver-outbox"):
            answer = self.invoke(function)
            assert answer.status_code == 200, answer.text
            assert "X-Amz-Function-Error" not in answer.headers, answer.text
        self.delivered()

    def broken_promises(self) -> list[Promise]:
        """Each promise that does not hold, once all has come to rest."""
        self.come_to_rest()
        account = self.stack["stripe"]
        return broken(
            check_promises(self.stack["database_admin_url"], account["api_base"], account["secret_key"])
        )
