"""The functions' own code over a shop and an emulated Stripe, for many threads at once.

Each thread is an execution environment: it has its own connection. What the threads share beside it (settings, Stripe's
client) is read only.
"""

import time
from typing import Any
from uuid import UUID

import pytest
import stripe

from domain.identity import Caller, Role
from domain.reservation import reservation_token
from functions.bookings import service as booking
from functions.bookings.access import Visitor
from functions.bookings.requests import BookingRequest
from functions.create_payment_intent import service as paying
from functions.deliver_outbox import service as delivering
from functions.reservation_cleanup import service as cleaning
from functions.reservations import service as reserving
from functions.stripe_webhook import service as receiving
from runtime.jobs import Budget
from stripe_gateway.gateway import StripeGateway
from tests.concurrency.shop import CONTEXT, Shop
from tests.emulator_process import SECRET_KEY, Emulator
from tests.support.app import TOKEN_SECRET
from tests.support.stripe_events import encoded, event_of, signature


class Till:
    """Pays, tells, cleans up and delivers."""

    def __init__(self, shop: Shop, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shop = shop
        self.emulator = emulator
        self._began_at = int(time.time())
        self.stripe = stripe.StripeClient(SECRET_KEY, base_addresses={"api": emulator.url}).v1
        gateway = StripeGateway(SECRET_KEY, emulator.url, seconds_a_try=30)
        for service in (paying, receiving, cleaning, delivering, reserving):
            monkeypatch.setattr(service, "_database", shop.database)
            monkeypatch.setattr(service, "_gateway", lambda: gateway)
        monkeypatch.setattr(booking, "bookings_database", shop.database)
        monkeypatch.setattr(booking, "bookings_gateway", lambda: gateway)

    def pay(self, hold_id: UUID, key: str | None) -> paying.Answered:
        """`create-payment-intent`; raises its refusals."""
        token = reservation_token(str(hold_id), TOKEN_SECRET)
        return paying.pay(paying.PaymentRequest(reservation_id=hold_id), token, key, CONTEXT)

    def book(
        self, hold_id: UUID, method: str, *, user_id: str | None = None, key: str | None = None
    ) -> booking.Booked:
        """`POST /bookings`; raises its refusals."""
        request = BookingRequest.model_validate({"reservation_id": hold_id, "payment_method": method})
        caller = Caller(user_id, Role.CUSTOMER, 0) if user_id else None
        who = Visitor(reservation_token(str(hold_id), TOKEN_SECRET), caller)
        return booking.book(request, who, key, CONTEXT)

    def cancel(self, hold_id: UUID) -> None:
        """`DELETE /reservations/{id}`; raises its refusals."""
        reserving.cancel(hold_id, reservation_token(str(hold_id), TOKEN_SECRET), CONTEXT)

    def confirm(self, intent_id: str, card: str = "pm_card_visa") -> dict[str, Any]:
        """The buyer's card at Stripe: the event that Stripe then sends. Raises Stripe's error where it is too late."""
        paid = self.stripe.payment_intents.confirm(intent_id, {"payment_method": card})
        return event_of("payment_intent.succeeded", paid.to_dict())

    def tell(self, event: dict[str, Any]) -> str:
        """`stripe-webhook`, with Stripe's signature; raises what is answered as 5xx."""
        payload = encoded(event)
        return receiving.receive(payload, signature(payload), CONTEXT)

    def clean_up(self, seconds: float = 250) -> dict[str, Any]:
        """One run of `reservation-cleanup`."""
        return cleaning.clean_up("test", Budget(seconds))

    def deliver(self, seconds: float = 250) -> dict[str, Any]:
        """One run of `deliver-outbox`."""
        return delivering.deliver("test", Budget(seconds))

    def intents(self, hold_id: UUID) -> list[stripe.PaymentIntent]:
        """The hold's intents at Stripe that are not cancelled."""
        listed = self.stripe.payment_intents.list({"limit": 100, "created": {"gte": self._began_at}})
        return [
            intent
            for intent in listed.auto_paging_iter()
            if intent.metadata.to_dict().get("holdfast_reservation_id") == str(hold_id)
            and intent.status != "canceled"
        ]
