"""Payments whose money comes days later, or does not: the bank decides about a debit, the buyer about a voucher.

https://docs.stripe.com/payments/payment-methods#payment-notification
"""

from typing import Any

from local.stripe_emulator import pending
from local.stripe_emulator.account import Answer, Call
from local.stripe_emulator.bank_debits import BankDebit, Refusal
from local.stripe_emulator.charging import APPROVED, charge_of, failed, method_of, new_charge, save, succeeded
from local.stripe_emulator.errors import error_object, refused
from local.stripe_emulator.events import emit
from local.stripe_emulator.methods import METHODS
from local.stripe_emulator.storage import Stored
from local.stripe_emulator.vouchers import Voucher, expiry

type Json = dict[str, Any]

_DECLINED = Refusal("payment_method_provider_decline", "The bank could not process the debit.")

_UNPAID = {
    "expired": Refusal(
        "payment_intent_payment_attempt_expired",
        "The latest attempt for this PaymentIntent has expired. Provide another payment method to try again.",
    ),
    "failed": Refusal(
        "payment_intent_payment_attempt_failed",
        "The latest payment attempt of the PaymentIntent has failed. Provide another payment method to try again.",
    ),
}


def awaits_funds(intent: Stored) -> bool:
    """Whether the buyer has done their part, and the money is to come."""
    return intent.body["status"] == "processing" or expiry(intent.body["next_action"]) is not None


def debit(call: Call, intent: Stored, account: BankDebit) -> Answer:
    """Send a debit to the bank: a pending charge, and an intent that is processing."""
    made = new_charge(call, intent, APPROVED)
    made.body |= {"status": "pending", "paid": False}
    call.storage.insert(made)
    intent.body |= {"status": "processing", "latest_charge": made.id}
    save(call.account, intent)
    if account.outcome != "waits":
        due_at = None if account.wait_s is None else call.account.clock() + account.wait_s
        outcome = "failed" if isinstance(account.outcome, Refusal) else "succeeded"
        pending.begin(call, "payment_intent", intent.id, outcome, due_at=due_at)
    emit(call, "payment_intent.processing", intent.body)
    emit(call, "charge.pending", made.body)
    return Answer(intent.body)


def issue(call: Call, intent: Stored, voucher: Voucher) -> Answer:
    """Give the buyer a voucher: an intent that requires action until it is paid, or over."""
    step = voucher.next_action(f"{call.account.public_url}/voucher/{intent.id}", call.account.clock())
    intent.body |= {"status": "requires_action", "next_action": step}
    save(call.account, intent)
    pending.begin(call, "payment_intent", intent.id, "expired", due_at=expiry(step))
    emit(call, "payment_intent.requires_action", intent.body)
    return Answer(intent.body)


def settle(call: Call, intent: Stored, outcome: str) -> None:
    """The bank's word about an intent that awaits its money: `succeeded`, `failed` or, of a voucher, `expired`.

    A voucher can be `processing`, too: paid in the shop, the money on its way. StripeError if the intent awaits
    no money, or not in this way.
    """
    if not awaits_funds(intent):
        raise refused(f"This PaymentIntent has a status of {intent.body['status']}: it awaits no funds.")
    pending.end(call.storage, intent.id)
    method = METHODS[intent.private["method"]]
    if isinstance(method, Voucher):
        _settle_voucher(call, intent, outcome)
    elif isinstance(method, BankDebit) and outcome in ("succeeded", "failed"):
        _settle_debit(call, intent, method, outcome)
    else:
        raise refused(f"A debit cannot become {outcome}.")


def _settle_debit(call: Call, intent: Stored, account: BankDebit, outcome: str) -> None:
    made = charge_of(call, intent)
    if outcome == "succeeded":
        made.body |= {"status": "succeeded", "paid": True}
        call.storage.update(made)
        succeeded(call, intent, made)
        return
    refusal = account.outcome if isinstance(account.outcome, Refusal) else _DECLINED
    fail_charge(call, made, refusal)
    error = error_object("card_error", refusal.message, code=refusal.code)
    failed(call, intent, error | {"charge": made.id, "payment_method": method_of(call, intent)})


def _settle_voucher(call: Call, intent: Stored, outcome: str) -> None:
    if outcome == "processing":
        intent.body |= {"status": "processing", "next_action": None}
        save(call.account, intent)
        emit(call, "payment_intent.processing", intent.body)
    elif outcome == "succeeded":
        made = new_charge(call, intent, APPROVED)
        call.storage.insert(made)
        succeeded(call, intent, made)
    else:
        how = _UNPAID[outcome]
        error = error_object("invalid_request_error", how.message, code=how.code)
        failed(call, intent, error | {"payment_method": method_of(call, intent)})


def fail_charge(call: Call, made: Stored, refusal: Refusal) -> None:
    """A pending charge comes to nothing."""
    made.body |= {
        "status": "failed",
        "captured": False,
        "amount_captured": 0,
        "failure_code": refusal.code,
        "failure_message": refusal.message,
        "outcome": APPROVED
        | {
            "network_status": "declined_by_network",
            "reason": refusal.code,
            "seller_message": refusal.message,
            "type": "issuer_declined",
        },
    }
    call.storage.update(made)
    emit(call, "charge.failed", made.body)


def stop(call: Call, intent: Stored) -> None:
    """Stop what is under way for an intent that is cancelled; StripeError if the bank cannot be stopped.

    An ACH debit can be cancelled for a while, a SEPA debit cannot.
    """
    if intent.body["status"] == "processing":
        if METHODS[intent.private["method"]].type != "us_bank_account":
            raise refused(
                "You cannot cancel this PaymentIntent because it has a status of processing, and its payment "
                "method does not let a payment be canceled once the bank has it.",
                code="payment_intent_unexpected_state",
                payment_intent=intent.body,
            )
        canceled = Refusal("payment_intent_canceled", "The payment was canceled.")
        fail_charge(call, charge_of(call, intent), canceled)
    pending.end(call.storage, intent.id)
