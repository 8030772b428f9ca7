"""What `create-payment-intent` answers. Amounts are in the currency's minor unit."""

from datetime import datetime
from typing import TypedDict
from uuid import UUID


class _Payment(TypedDict):
    payment_id: UUID
    amount: int
    currency: str
    status: str
    expires_at: datetime


class IntentPayment(_Payment):
    """A payment that the page confirms itself, by the intent's client secret."""

    payment_intent_id: str
    client_secret: str


class SessionPayment(_Payment):
    """A payment on Stripe's own page, at `url`."""

    checkout_session_id: str
    url: str
