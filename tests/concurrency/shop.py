"""A shop over a database of the test's own: its catalogue, its buyers, and what Stripe would say of their payments."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import psycopg

from database import holds, payments
from database.connection import Connection, Database
from domain.currencies import chargeable_limits
from domain.refusals import DatabaseUnavailable
from payments.applying import claim_and_apply
from runtime.settings import StripeSettings
from stripe_gateway.observations import observe
from tests.emulator_process import eventually
from tests.support.stripe_events import event_of, intent

CONTEXT: Mapping[str, str | None] = {"actor": "test", "request_id": "test"}
LEASE = timedelta(seconds=12)
PRICE = 4500
SETTINGS = StripeSettings(database_url="", stripe_secret_key="sk_test_of_the_shop")
# More than any crowd of a test, and less than the server's connections.
CROWD = 120
ALL_THERE_S = 60.0


class _Own:
    """A thread's database; its connection ends with the thread."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)

    def __del__(self) -> None:
        self.database.close()


class Shop:
    """Sells to many callers at once, each with a connection of its own as `app`; `close` ends them all."""

    def __init__(self, owner_url: str, app_url: str) -> None:
        self.owner_url = owner_url
        self.app_url = app_url
        self._own = threading.local()
        self._owner = psycopg.connect(owner_url, autocommit=True)
        self._one_at_a_time = threading.Lock()
        self._numbers = count()
        self._crowd = ThreadPoolExecutor(max_workers=CROWD)

    def close(self) -> None:
        self._owner.close()
        self._send_home()

    def _send_home(self) -> None:
        """Ends every caller's thread, and so its connection, and this thread's."""
        self._crowd.shutdown()
        self._crowd = ThreadPoolExecutor(max_workers=CROWD)
        self._own = threading.local()

    def all_at_once[T](self, acts: Sequence[Callable[[], T]]) -> list[T | Exception]:
        """What each act answered or raised, in their order; all begin together, once each is connected."""
        start = threading.Barrier(len(acts), timeout=ALL_THERE_S)

        def begin(act: Callable[[], T]) -> T | Exception:
            eventually(self._is_connected)
            start.wait()
            try:
                return act()
            except Exception as raised:  # noqa: BLE001 - what a caller got is what the test is about
                return raised

        return list(self._crowd.map(begin, acts))

    def at_once[T](self, callers: int, act: Callable[[int], T]) -> list[T | Exception]:
        """The same for one act, which is told the caller's number."""
        return self.all_at_once([lambda number=number: act(number) for number in range(callers)])

    def database(self) -> Database:
        """This thread's own, as an execution environment has its own."""
        if not hasattr(self._own, "kept"):
            self._own.kept = _Own(self.app_url)
        return self._own.kept.database

    def connection(self) -> Connection:
        """This thread's bare connection: nothing retries what the database refuses."""
        found: list[Connection] = []
        self.database().run(found.append)
        return found[0]

    def _is_connected(self) -> bool:
        """A crowd that comes at once may keep the server from answering in time."""
        try:
            self.connection()
        except DatabaseUnavailable:
            return False
        return True

    def rows(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        """What the owner sees, or does."""
        with self._one_at_a_time:
            cursor = self._owner.execute(query.encode(), params)
            return cursor.fetchall() if cursor.description else []

    def value(self, query: str, *params: object) -> Any:
        return self.rows(query, *params)[0][0]

    def violations(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT * FROM invariant_violations")

    def waiting(self) -> int:
        """How many stand before a lock at this moment."""
        return self.value(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )

    def deadlocks(self) -> int:
        """How often PostgreSQL had to break a deadlock in this database; its callers have been let go for this."""
        self._send_home()
        name = self.value("SELECT current_database()")
        still_there = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        give_up_at = time.monotonic() + 30
        while self.value(still_there, name) and time.monotonic() < give_up_at:
            time.sleep(0.01)  # what a connection has counted is there when it has gone
        self.rows("SELECT pg_stat_clear_snapshot()")
        return self.value("SELECT deadlocks FROM pg_stat_database WHERE datname = %s", name)

    def slot(self, *, units: int, bookings: int | None = None) -> UUID:
        """A new slot far ahead, 45.00 EUR a unit; as many bookings as units unless told otherwise."""
        return self.value(
            """
            WITH sold AS (
                INSERT INTO offerings (slug, name, kind, unit_amount, currency, timezone)
                VALUES ('concert', 'Concert', 'ticket', %s, 'eur', 'Europe/Vienna')
                ON CONFLICT (slug) DO UPDATE SET name = excluded.name RETURNING id
            )
            INSERT INTO slots (offering_id, starts_at, ends_at, max_units, max_bookings)
            SELECT id, now() + interval '90 days', now() + interval '91 days', %s, %s FROM sold RETURNING id
            """,
            PRICE,
            units,
            bookings or units,
        )

    def buyer(self) -> str:
        return f"buyer{next(self._numbers)}@example.com"

    def hold(
        self, wanted: Mapping[UUID, int], *, email: str | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """What `reserve_tickets` answers, on this thread's bare connection; `id` is the hold's."""
        hold_id = uuid4()
        items = [{"slot_id": str(slot), "units": units, "add_ons": []} for slot, units in wanted.items()]
        outcome = holds.reserve_tickets(
            self.connection(),
            reservation_id=hold_id,
            email=email or self.buyer(),
            name="Ada",
            phone=None,
            items=items,
            hold=timedelta(minutes=15),
            ceiling=timedelta(minutes=30),
            key=key,
            request_hash="hash",
            context=CONTEXT,
        )
        return {**outcome, "id": hold_id}

    def begin_payment(self, hold_id: UUID) -> dict[str, Any]:
        """Phase 1 of paying, on this thread's bare connection."""
        return payments.begin_payment(
            self.connection(),
            payment_id=uuid4(),
            reservation_id=hold_id,
            mode="payment_intent",
            parameters={},
            chargeable=chargeable_limits(),
            window=timedelta(minutes=10),
            lease=LEASE,
            expected_amount=None,
            expected_currency=None,
            key=None,
            request_hash=None,
            context=CONTEXT,
        )

    def with_payment(self, hold_id: UUID) -> str:
        """Gives the hold a payment that is open at Stripe, and answers its intent's id. No Stripe is asked."""
        payment = self.begin_payment(hold_id)["payment"]
        intent_id = f"pi_{uuid4().hex}"
        recorded = payments.record_payment(
            self.connection(),
            payment_id=payment["id"],
            attempt=payment["attempt"],
            payment_intent_id=intent_id,
            checkout_session_id=None,
            status="requires_payment_method",
            context=CONTEXT,
        )
        assert recorded == "recorded"
        return intent_id

    def expire(self, *hold_ids: UUID) -> None:
        """Lets the time of these holds be over, as operators do."""
        self.rows(
            "UPDATE ticket_reservations SET expires_at = now() - interval '1 second' WHERE id = ANY (%s)",
            list(hold_ids),
        )

    def status(self, hold_id: UUID) -> str:
        return self.value("SELECT status FROM ticket_reservations WHERE id = %s", hold_id)

    def succeeded(self, intent_id: str, *, amount: int = PRICE) -> str:
        """Stripe's word that an intent is paid, applied as the webhook does it, on this thread's bare connection."""
        event = succeeded_event(intent_id, amount)
        seen = observe(event["data"]["object"])
        return claim_and_apply(self.connection(), SETTINGS, event, seen, CONTEXT).outcome


def succeeded_event(intent_id: str, amount: int = PRICE) -> dict[str, Any]:
    """Stripe's event that an intent is paid; the same intent has the same event."""
    paid = intent(intent_id, amount, "succeeded")
    return event_of("payment_intent.succeeded", paid, id=f"evt_{intent_id}")
