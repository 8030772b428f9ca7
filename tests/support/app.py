"""The functions in this process, over a database of the test's own and Stripe's emulator."""

import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import stripe

from runtime import settings
from tests.emulator_process import SECRET_KEY, Emulator
from tests.support.documented import hold_to_the_document
from tests.support.lambda_events import Answer, Context, url_event
from tests.support.stripe_events import WEBHOOK_SECRET, encoded, signature

FUNCTIONS = (
    "reservations",
    "create-payment-intent",
    "stripe-webhook",
    "webhook-inbox",
    "reservation-cleanup",
    "seal-audit",
    "check-promises",
    "deliver-outbox",
    "reconcile-payments",
    "log-error",
    "health",
    "sessions",
    "bookings",
    "admin",
)
# What a function's service keeps from one call to the next.
REMEMBERED = (
    "_database",
    "_gateway",
    "_hasty_gateway",
    "_strangers",
    "admin_database",
    "bookings_database",
    "bookings_gateway",
)
TOKEN_SECRET = "a-token-secret-of-the-tests"
SETTINGS = {
    "TOKEN_SECRET": TOKEN_SECRET,
    "STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET,
    "STRIPE_ACCOUNT_ID": "acct_ours",
    "CHECKOUT_SUCCESS_URL": "https://shop.example/paid",
    "CHECKOUT_CANCEL_URL": "https://shop.example/back",
    "NOTIFICATION_SECRET": "a-notification-secret",
}
_numbers = count()


@dataclass(frozen=True)
class Hold:
    """A reservation as its buyer knows it."""

    id: str
    token: str
    amount: int
    email: str

    @property
    def headers(self) -> dict[str, str]:
        return {"x-reservation-token": self.token}


@dataclass(frozen=True)
class Payment:
    """A payment that is open at Stripe. One of the last two is there, by its mode."""

    id: str
    hold: Hold
    intent_id: str | None
    session_id: str | None


class App:
    """Calls the functions, sells things, plays buyer and Stripe, and looks into the database as its owner."""

    def __init__(
        self,
        owner_url: str,
        app_url: str,
        error_writer_url: str,
        emulator: Emulator,
        patch: pytest.MonkeyPatch,
    ) -> None:
        self.owner_url = owner_url
        self.app_url = app_url
        self.error_writer_url = error_writer_url
        self.emulator = emulator
        self._patch = patch
        self._began_at = int(time.time())
        self._owner = psycopg.connect(owner_url, autocommit=True)
        self.set(**SETTINGS, DATABASE_URL=app_url, STRIPE_SECRET_KEY=SECRET_KEY, STRIPE_API_BASE=emulator.url)

    def close(self) -> None:
        self._owner.close()
        self.forget()

    # The surroundings of the functions.

    def set(self, **environment: str) -> None:
        """Changes settings; the functions read them anew."""
        for name, value in environment.items():
            self._patch.setenv(name, value)
        self.forget()

    def unset(self, *names: str) -> None:
        """Takes settings away."""
        for name in names:
            self._patch.delenv(name, raising=False)
        self.forget()

    def forget(self) -> None:
        """Makes the next call of each function its first: no settings, no connections."""
        settings._load.cache_clear()
        for name in FUNCTIONS:
            service = importlib.import_module(f"functions.{name.replace('-', '_')}.service")
            for cached in REMEMBERED:
                remembered = getattr(service, cached, None)
                if remembered is None or not remembered.cache_info().currsize:
                    continue
                _close(remembered())
                remembered.cache_clear()

    # Calling.

    def handler(self, function: str) -> Callable[[Any, Any], dict[str, Any]]:
        """The function's Lambda handler."""
        return importlib.import_module(f"functions.{function.replace('-', '_')}.handler").lambda_handler

    def call(
        self,
        function: str,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        query: str = "",
        wrapped: bool | None = None,
        context: Context | None = None,
    ) -> Answer:
        """One HTTP request to a function, as its function URL passes it on."""
        event = url_event(method, path, body, dict(headers or {}), query=query, wrapped=wrapped)
        answered = self.handler(function)(event, context or context_of(function))
        answer = Answer(answered["statusCode"], answered["body"], answered["headers"])
        hold_to_the_document(function, method, path, answer)
        return answer

    def call_with_query(self, function: str, path: str, query: Mapping[str, str]) -> Answer:
        """A GET with any query at all."""
        event = url_event("GET", path) | {"queryStringParameters": dict(query)}
        answered = self.handler(function)(event, Context())
        return Answer(answered["statusCode"], answered["body"], answered["headers"])

    def invoke(
        self, function: str, event: Mapping[str, Any] | None = None, *, seconds_left: float = 30
    ) -> Any:
        """One invocation by a schedule."""
        return self.handler(function)(event or {}, context_of(function, seconds_left))

    # The database as its owner sees it.

    def rows(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        cursor = self._owner.execute(query.encode(), params)
        return cursor.fetchall() if cursor.description else []

    def row(self, query: str, *params: object) -> tuple[Any, ...]:
        rows = self.rows(query, *params)
        assert len(rows) == 1, rows
        return rows[0]

    def value(self, query: str, *params: object) -> Any:
        return self.row(query, *params)[0]

    def violations(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT * FROM invariant_violations")

    def count(self, table: str) -> int:
        return self.value(f"SELECT count(*) FROM {table}")

    def status_counts(self) -> dict[str, int]:
        """How many holds there are of each status."""
        return dict(self.rows("SELECT status, count(*) FROM ticket_reservations GROUP BY status"))

    def dump(self) -> dict[str, str]:
        """Every table's rows as text: the same while nothing has changed. That somebody asked is no change."""
        tables = [
            name
            for (name,) in self.rows(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'rate_limits'"
            )
        ]
        rows = ", ".join(
            f"(SELECT coalesce(json_agg(t ORDER BY t::text)::text, '') FROM {name} t)" for name in tables
        )
        return dict(zip(tables, self.row(f"SELECT {rows}"), strict=True))

    # Things to sell.

    def offering(self, **columns: object) -> str:
        """A new offering's slug: 45.00 EUR a unit unless told otherwise."""
        number = next(_numbers)
        values = {
            "slug": f"offering-{number}",
            "name": f"Offering {number}",
            "kind": "ticket",
            "unit_amount": 4500,
            "currency": "eur",
            "timezone": "Europe/Vienna",
            **columns,
        }
        names = ", ".join(values)
        places = ", ".join(["%s"] * len(values))
        return self.value(
            f"INSERT INTO offerings ({names}) VALUES ({places}) RETURNING slug", *values.values()
        )

    def add_on(self, offering: str, unit_amount: int = 600, name: str = "Programme") -> str:
        """A new add-on's id."""
        return str(
            self.value(
                """
                INSERT INTO add_ons (offering_id, name, unit_amount)
                SELECT id, %s, %s FROM offerings WHERE slug = %s RETURNING id
                """,
                name,
                unit_amount,
                offering,
            )
        )

    def slot(
        self,
        offering: str | None = None,
        *,
        units: int = 10,
        bookings: int | None = None,
        starts_in: str = "30 days",
        lasts: str = "2 hours",
        resource_id: str | None = None,
        **price: object,
    ) -> str:
        """A new slot's id; an offering of its own (with `price`'s columns) unless one is named."""
        return str(
            self.value(
                """
                INSERT INTO slots (offering_id, starts_at, ends_at, max_units, max_bookings, resource_id)
                SELECT id, now() + %s::interval, now() + %s::interval + %s::interval, %s, %s, %s
                FROM offerings WHERE slug = %s RETURNING id
                """,
                starts_in,
                starts_in,
                lasts,
                units,
                bookings or units,
                resource_id,
                offering or self.offering(**price),
            )
        )

    def counts(self, slot: str) -> tuple[int, int, int, int]:
        """Held and sold of the slot, in units and in bookings: (held, sold, held bookings, sold bookings)."""
        held, sold, held_bookings, sold_bookings = self.row(
            "SELECT held_units, sold_units, held_bookings, sold_bookings FROM slots WHERE id = %s", slot
        )
        return held, sold, held_bookings, sold_bookings

    # Buyers.

    def email(self) -> str:
        """A new buyer's address."""
        return f"buyer{next(_numbers)}@example.com"

    def hold_request(
        self, wanted: str | Mapping[str, int], units: int = 1, *, email: str | None = None, **customer: str
    ) -> dict[str, Any]:
        """The body of a hold on one slot, or on several with their units."""
        items = {wanted: units} if isinstance(wanted, str) else wanted
        return {
            "items": [{"slot_id": slot, "units": number} for slot, number in items.items()],
            "customer": {"email": email or self.email(), "name": "Ada Example", **customer},
        }

    def try_hold(
        self,
        wanted: str | Mapping[str, int],
        units: int = 1,
        *,
        email: str | None = None,
        key: str | None = None,
    ) -> Answer:
        """A hold as it is answered."""
        headers = {"idempotency-key": key} if key else {}
        request = self.hold_request(wanted, units, email=email)
        return self.call("reservations", "POST", "/reservations", request, headers)

    def hold(self, wanted: str | Mapping[str, int], units: int = 1, *, email: str | None = None) -> Hold:
        """A hold that is granted."""
        email = email or self.email()
        answer = self.try_hold(wanted, units, email=email)
        assert answer.status == 201, answer
        return Hold(answer.body["id"], answer.body["token"], answer.body["amount"], email)

    def pay(self, hold: Hold, *, key: str | None = None, **body: object) -> Answer:
        """A call of `create-payment-intent` as it is answered."""
        headers = hold.headers | ({"idempotency-key": key} if key else {})
        return self.call("create-payment-intent", "POST", "/", {"reservation_id": hold.id, **body}, headers)

    def payment(self, hold: Hold, *, mode: str = "payment_intent") -> Payment:
        """A payment that is open at Stripe."""
        answer = self.pay(hold, mode=mode)
        assert answer.status == 201, answer
        body = answer.body
        return Payment(
            body["payment_id"], hold, body.get("payment_intent_id"), body.get("checkout_session_id")
        )

    def grant(self, user_id: str, number: int) -> None:
        """Gives the user so many credits more."""
        self.rows("SELECT grant_credits(%s, %s, NULL, 'a gift')", user_id, number)

    def balance(self, user_id: str) -> int:
        return self.value("SELECT balance FROM user_credits WHERE user_id = %s", user_id)

    def book(
        self, hold: Hold, method: str = "pay_on_arrival", *, key: str | None = None, **headers: str
    ) -> Answer:
        """A call of `POST /bookings` as it is answered."""
        given = hold.headers | headers | ({"idempotency-key": key} if key else {})
        return self.call(
            "bookings", "POST", "/bookings", {"reservation_id": hold.id, "payment_method": method}, given
        )

    def cancel(self, hold: Hold) -> Answer:
        return self.call("reservations", "DELETE", f"/reservations/{hold.id}", headers=hold.headers)

    def show(self, hold: Hold) -> Any:
        answer = self.call("reservations", "GET", f"/reservations/{hold.id}", headers=hold.headers)
        assert answer.status == 200, answer
        return answer.body

    def status(self, hold: Hold) -> str:
        """The hold's status as its row has it."""
        return self.value("SELECT status FROM ticket_reservations WHERE id = %s", hold.id)

    def expire(self, *holds: Hold) -> None:
        """Lets the time of these holds be over, as operators do."""
        self.rows(
            "UPDATE ticket_reservations SET expires_at = now() - interval '1 second' WHERE id = ANY (%s::uuid[])",
            [hold.id for hold in holds],
        )

    def leases_over(self) -> None:
        """Lets every lease and every pause of payments and outbox rows be over."""
        self.rows("UPDATE payment_intents_log SET lease_until = now(), next_ask_at = now()")
        self.rows("UPDATE outbox SET lease_until = now(), next_attempt_at = now() WHERE status = 'pending'")

    # Stripe.

    @property
    def stripe_client(self) -> stripe.StripeClient:
        """Stripe's SDK as the buyer's browser or an operator would use it."""
        return self.emulator.client()

    def confirm(self, payment: Payment, card: str = "pm_card_visa") -> None:
        """The buyer pays."""
        if payment.session_id:
            status, body, _ = self.emulator.call(
                "POST", f"/_emulator/checkout/{payment.session_id}/pay", {"payment_method": card}
            )
            assert status == 200, body
            return
        assert payment.intent_id is not None
        self.stripe_client.v1.payment_intents.confirm(payment.intent_id, {"payment_method": card})

    def intents(self, hold: Hold) -> list[stripe.PaymentIntent]:
        """Every intent that Stripe has for the hold, whatever its status."""
        listed = self.stripe_client.v1.payment_intents.list({"limit": 100}).auto_paging_iter()
        return [
            i for i in listed if i.metadata and i.metadata.to_dict().get("holdfast_reservation_id") == hold.id
        ]

    def events(self, object_id: str | None, event_type: str | None = None) -> list[dict[str, Any]]:
        """What Stripe has said of an object, oldest first."""
        return [
            event
            for event in self.all_events()
            if event["data"]["object"]["id"] == object_id and event_type in (None, event["type"])
        ]

    def all_events(self) -> list[dict[str, Any]]:
        """What Stripe has said since the test began, oldest first: the account is every test's."""
        listed = self.stripe_client.v1.events.list({"limit": 100, "created": {"gte": self._began_at}})
        return [event.to_dict() for event in listed.auto_paging_iter()][::-1]

    def event(self, object_id: str | None, event_type: str) -> dict[str, Any]:
        """The one event of this type about the object."""
        (event,) = self.events(object_id, event_type)
        return event

    def deliver(
        self,
        event: object,
        *,
        secret: str = WEBHOOK_SECRET,
        at: float | None = None,
        header: str | None = None,
    ) -> Answer:
        """The webhook of an event (or of any bytes), signed as Stripe signs."""
        payload = event if isinstance(event, bytes) else encoded(event)
        given = signature(payload, secret=secret, at=at) if header is None else header
        return self.call("stripe-webhook", "POST", "/", payload, {"stripe-signature": given})

    def outcome(self, event: object) -> str:
        """What became of an event that is answered 200."""
        answer = self.deliver(event)
        assert answer.status == 200, answer
        return answer.body["outcome"]

    def booked(self, slot: str, units: int = 1) -> Payment:
        """A hold that is paid and confirmed by Stripe's webhook."""
        payment = self.payment(self.hold(slot, units))
        self.confirm(payment)
        assert self.outcome(self.event(payment.intent_id, "payment_intent.succeeded")) == "processed"
        return payment

    def faults(self, *responses: Mapping[str, object]) -> None:
        """What goes wrong at Stripe from now on, until the test is over."""
        self.emulator.faults(responses=list(responses))


def context_of(function: str, seconds_left: float = 30) -> Context:
    """An invocation of the stack `tests`."""
    return Context(seconds_left, function_name=f"tests-{function}")


def _close(kept: Any) -> None:
    """Lets a function's database or gateway go."""
    if hasattr(kept, "close") and hasattr(kept, "run"):
        kept.close()


def new_key() -> str:
    """An idempotency key that nobody used before."""
    return f"key-{uuid4()}"
