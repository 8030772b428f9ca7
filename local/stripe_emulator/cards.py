"""Stripe's test cards, by the payment method ids of https://docs.stripe.com/testing."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Decline:
    """How an issuer declines, and what Stripe tells of it."""

    decline_code: str
    message: str
    seller_message: str
    code: str = "card_declined"
    advice: str | None = "try_again_later"
    param: str | None = None


@dataclass(frozen=True)
class Disputed:
    """Why the customer's bank disputes a charge as soon as it is made, or only inquires."""

    reason: str
    inquiry: bool = False


@dataclass(frozen=True)
class TestCard:
    """A test card and what happens when it is charged."""

    label: str
    last4: str
    brand: str = "visa"
    funding: str = "credit"
    decline: Decline | None = None
    requires_authentication: bool = False
    refund: Literal["succeeds", "pending", "fails"] = "succeeds"
    dispute: Disputed | None = None
    type: Literal["card"] = "card"


_NO_DETAILS = "The bank did not return any further details with this decline."

_GENERIC = Decline("generic_decline", "Your card was declined.", _NO_DETAILS)
_INSUFFICIENT = Decline(
    "insufficient_funds",
    "Your card has insufficient funds.",
    "The bank returned the decline code `insufficient_funds`.",
)
_LOST = Decline("lost_card", "Your card was declined.", _NO_DETAILS, advice="do_not_try_again")
_STOLEN = Decline("stolen_card", "Your card was declined.", _NO_DETAILS, advice="do_not_try_again")
_VELOCITY = Decline(
    "card_velocity_exceeded",
    "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
    "The bank returned the decline code `card_velocity_exceeded`.",
)
_EXPIRED = Decline(
    "expired_card",
    "Your card has expired.",
    "The bank returned the decline code `expired_card`.",
    code="expired_card",
    advice="do_not_try_again",
    param="exp_month",
)
_INCORRECT_CVC = Decline(
    "incorrect_cvc",
    "Your card's security code is incorrect.",
    "The bank returned the decline code `incorrect_cvc`.",
    code="incorrect_cvc",
    advice="confirm_card_data",
    param="cvc",
)
_PROCESSING = Decline(
    "processing_error",
    "An error occurred while processing your card. Try again in a little bit.",
    "The bank returned the decline code `processing_error`.",
    code="processing_error",
)

CARDS: dict[str, TestCard] = {
    "pm_card_visa": TestCard("Visa, succeeds", "4242"),
    "pm_card_visa_debit": TestCard("Visa debit, succeeds", "5556", funding="debit"),
    "pm_card_mastercard": TestCard("Mastercard, succeeds", "4444", brand="mastercard"),
    "pm_card_amex": TestCard("American Express, succeeds", "8431", brand="amex"),
    "pm_card_pendingRefund": TestCard("Refunds are pending at first", "7726", refund="pending"),
    "pm_card_refundFail": TestCard("Refunds fail after a while", "5126", refund="fails"),
    "pm_card_createDispute": TestCard("Disputed as fraudulent", "0259", dispute=Disputed("fraudulent")),
    "pm_card_createDisputeProductNotReceived": TestCard(
        "Disputed as not received", "2685", dispute=Disputed("product_not_received")
    ),
    "pm_card_createDisputeInquiry": TestCard(
        "The bank inquires", "1976", dispute=Disputed("fraudulent", inquiry=True)
    ),
    "pm_card_authenticationRequired": TestCard("3-D Secure", "3184", requires_authentication=True),
    "pm_card_threeDSecure2Required": TestCard("3-D Secure 2", "3220", requires_authentication=True),
    "pm_card_threeDSecureRequiredChargeDeclined": TestCard(
        "3-D Secure, then declined", "1629", decline=_GENERIC, requires_authentication=True
    ),
    "pm_card_visa_chargeDeclined": TestCard("Declined", "0002", decline=_GENERIC),
    "pm_card_visa_chargeDeclinedInsufficientFunds": TestCard(
        "Declined: insufficient funds", "9995", decline=_INSUFFICIENT
    ),
    "pm_card_visa_chargeDeclinedLostCard": TestCard("Declined: lost", "9987", decline=_LOST),
    "pm_card_visa_chargeDeclinedStolenCard": TestCard("Declined: stolen", "9979", decline=_STOLEN),
    "pm_card_visa_chargeDeclinedVelocityLimitExceeded": TestCard(
        "Declined: too often", "6975", decline=_VELOCITY
    ),
    "pm_card_chargeDeclinedExpiredCard": TestCard("Declined: expired", "0069", decline=_EXPIRED),
    "pm_card_chargeDeclinedIncorrectCvc": TestCard("Declined: wrong code", "0127", decline=_INCORRECT_CVC),
    "pm_card_chargeDeclinedProcessingError": TestCard("Declined: error", "0119", decline=_PROCESSING),
}

# Names that Stripe also takes for the cards above.
ALIASES = {
    "pm_card_chargeDeclined": "pm_card_visa_chargeDeclined",
    "pm_card_chargeDeclinedInsufficientFunds": "pm_card_visa_chargeDeclinedInsufficientFunds",
    "pm_card_threeDSecureRequired": "pm_card_threeDSecure2Required",
}
