"""What becomes of a payment's money once it is in: refunds and disputes, by a pure function of facts.

A refund of Stripe's goes from pending to succeeded to failed and never back; a succeeded one may still fail
(https://docs.stripe.com/refunds#failed-refunds). A dispute only goes on. What we still have to refund follows from
those facts alone, so order, duplicates and two events of one second cannot change the outcome.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import NAMESPACE_URL, uuid5

MADE_AT_STRIPE = "made-at-stripe"
GONE = frozenset(["failed", "canceled"])
# How far along a refund is.
PROGRESS = {"pending": 0, "succeeded": 1, "failed": 2, "canceled": 2}

# Stripe's words for a dispute (https://docs.stripe.com/api/disputes/object#dispute_object-status): what each comes to,
# and how far along it is. A decision may be appealed (https://docs.stripe.com/changelog/endive/2026-10-28/evidence-submission-appeal-dispute-decisions),
# so of the last rank the newest word counts. An inquiry (warning_*) takes no money
# (https://docs.stripe.com/disputes/how-disputes-work); nor does a dispute that was prevented, unless Stripe took it
# to give it back (https://docs.stripe.com/changelog/basil/2025-08-27/add-preventions-to-dispute).
DISPUTE_WORDS: dict[str, tuple[str, int]] = {
    "warning_needs_response": ("inquiry", 0),
    "warning_under_review": ("inquiry", 1),
    "warning_closed": ("inquiry", 2),
    "needs_response": ("open", 3),
    "under_review": ("open", 4),
    "prevented": ("inquiry", 5),
    "won": ("won", 5),
    "lost": ("lost", 5),
    "appeal_needs_response": ("open", 5),
    "appeal_under_review": ("open", 5),
}
# A word that came later than this code freezes the booking until a person has looked.
NEW_WORD = ("open", 3)
IN_ORDER = list(DISPUTE_WORDS)
CONTESTED = frozenset(["open", "lost"])


class MoreThanCaptured(Exception):
    """Stripe's refunds, as far as we have heard of them, come to more than was paid."""


@dataclass(frozen=True, slots=True)
class RefundSeen:
    """What Stripe has said of a refund. `refund_id` is ours, from the metadata; `status` is one of `PROGRESS`."""

    stripe_refund_id: str
    payment_intent_id: str | None
    refund_id: str | None
    amount: int
    currency: str
    status: str


@dataclass(frozen=True, slots=True)
class DisputeSeen:
    """What Stripe has said of a dispute, and what it has taken for it and given back so far, in its currency."""

    stripe_dispute_id: str
    payment_intent_id: str | None
    status: str
    amount: int
    currency: str
    withdrawn_amount: int
    reinstated_amount: int
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Refund:
    """Our row of a refund. `wanted_amount`: what was asked for, where less than that is left to refund."""

    id: str
    amount: int
    reason: str
    status: str = "pending"
    wanted_amount: int | None = None
    stripe_refund_id: str | None = None
    failed_stripe_refund_ids: tuple[str, ...] = ()
    key_number: int = 1
    superseded_by: str | None = None

    @property
    def waits(self) -> bool:
        """Whether it is ours to send, and Stripe has not made it, as far as we know."""
        return self.stripe_refund_id is None and self.status in ("pending", "canceled")

    @property
    def whole_amount(self) -> int:
        """What is to go back in the end."""
        return self.wanted_amount or self.amount

    @property
    def due_amount(self) -> int:
        """What of the payment it takes up."""
        return 0 if self.status in GONE else self.amount


@dataclass(frozen=True, slots=True)
class Dispute:
    """Our row of a dispute."""

    id: str
    stripe_dispute_id: str
    status: str
    status_at: datetime
    amount: int
    currency: str
    withdrawn_amount: int
    reinstated_amount: int

    @property
    def standing(self) -> str:
        """What it comes to: inquiry, open, won or lost."""
        if self.status == "prevented" and self.withdrawn_amount > self.reinstated_amount:
            return "lost"
        return DISPUTE_WORDS.get(self.status, NEW_WORD)[0]


@dataclass(frozen=True, slots=True)
class Ledger:
    """A captured payment, locked, with its refunds and disputes in the order in which they were written."""

    payment_id: str
    currency: str
    captured_amount: int
    booking_status: str | None = None
    refunds: tuple[Refund, ...] = ()
    disputes: tuple[Dispute, ...] = ()

    @property
    def contested_by(self) -> Dispute | None:
        """The dispute that keeps the money from being refunded: one that is open or lost."""
        contested = [dispute for dispute in self.disputes if dispute.standing in CONTESTED]
        return min(contested, key=lambda dispute: dispute.stripe_dispute_id, default=None)

    @property
    def to_send(self) -> frozenset[str]:
        """The refunds that Stripe has still to be asked for."""
        return frozenset(refund.id for refund in self.refunds if refund.waits and refund.status == "pending")


def reason_to_quarantine_fact(ledger: Ledger, seen: RefundSeen | DisputeSeen) -> str | None:
    """Why it cannot be about this payment; None where it can.

    The amount of a dispute may differ from the payment's (https://docs.stripe.com/api/disputes/object#dispute_object-amount).
    """
    if seen.currency != ledger.currency:
        return "currency"
    if seen.amount <= 0 or (isinstance(seen, RefundSeen) and seen.amount > ledger.captured_amount):
        return "amount"
    return None


def with_facts(ledger: Ledger, refunds: Sequence[RefundSeen], disputes: Sequence[DisputeSeen]) -> Ledger:
    """The ledger as it has to be once these are known. Raises `MoreThanCaptured`."""
    # What has failed makes room for what was made afterwards.
    for refund in sorted(refunds, key=lambda refund: -PROGRESS[refund.status]):
        ledger = _with_refund(ledger, refund)
    for dispute in disputes:
        ledger = _with_dispute(ledger, dispute)
    ledger = _balanced(ledger)
    return replace(ledger, booking_status=_booking_status(ledger))


def _with_refund(ledger: Ledger, seen: RefundSeen) -> Ledger:
    row = next(
        (refund for refund in ledger.refunds if refund.stripe_refund_id == seen.stripe_refund_id), None
    )
    ours = next((refund for refund in ledger.refunds if refund.id == seen.refund_id), None)
    if any(seen.stripe_refund_id in refund.failed_stripe_refund_ids for refund in ledger.refunds):
        return ledger
    if row is not None and PROGRESS[seen.status] <= PROGRESS[row.status]:
        return ledger
    if row is not None and (seen.status not in GONE or row.reason == MADE_AT_STRIPE):
        row = replace(row, status=seen.status)
    elif seen.status in GONE and (sent := row or ours):
        row = _to_be_sent_again(sent, seen.stripe_refund_id)
    elif ours is not None and ours.stripe_refund_id is None:
        row = replace(
            ours,
            amount=seen.amount,
            wanted_amount=None,
            stripe_refund_id=seen.stripe_refund_id,
            status=seen.status,
            superseded_by=None,
        )
        if (rest := ours.whole_amount - seen.amount) > 0:
            # Made when there was no room for all of it: the rest is still owed.
            ledger = _with_row(ledger, Refund(_row_id(f"{row.stripe_refund_id}/rest"), rest, ours.reason))
    else:
        row = Refund(
            id=_row_id(seen.stripe_refund_id),
            amount=seen.amount,
            reason=ours.reason if ours else MADE_AT_STRIPE,
            status=seen.status,
            stripe_refund_id=seen.stripe_refund_id,
        )
    return _with_row(ledger, row)


def _with_row(ledger: Ledger, row: Refund) -> Ledger:
    rows = {refund.id: refund for refund in ledger.refunds} | {row.id: row}
    return replace(ledger, refunds=tuple(rows.values()))


def _to_be_sent_again(refund: Refund, failed: str) -> Refund:
    """What Stripe has made for our refund came to nothing: the money is still owed, and asked for under another key."""
    refund = replace(refund, failed_stripe_refund_ids=(*refund.failed_stripe_refund_ids, failed))
    if refund.stripe_refund_id not in (None, failed):
        return refund  # another one was made in its stead
    return replace(refund, status="pending", stripe_refund_id=None, key_number=refund.key_number + 1)


def _with_dispute(ledger: Ledger, seen: DisputeSeen) -> Ledger:
    known = [row for row in ledger.disputes if row.stripe_dispute_id == seen.stripe_dispute_id]
    row = Dispute(
        id=_row_id(seen.stripe_dispute_id),
        stripe_dispute_id=seen.stripe_dispute_id,
        status=seen.status,
        status_at=seen.seen_at,
        amount=seen.amount,
        currency=seen.currency,
        withdrawn_amount=seen.withdrawn_amount,
        reinstated_amount=seen.reinstated_amount,
    )
    if known:
        newest = max(known[0], row, key=_how_far)
        row = replace(
            newest,
            withdrawn_amount=max(known[0].withdrawn_amount, seen.withdrawn_amount),
            reinstated_amount=max(known[0].reinstated_amount, seen.reinstated_amount),
        )
    others = {dispute.id: dispute for dispute in ledger.disputes}
    return replace(ledger, disputes=tuple((others | {row.id: row}).values()))


def _how_far(dispute: Dispute) -> tuple[int, datetime, int]:
    """Its rank; of one rank the newer word; of one second the one that comes later in the table."""
    status = dispute.status
    place = IN_ORDER.index(status) if status in DISPUTE_WORDS else -1
    return DISPUTE_WORDS.get(status, NEW_WORD)[1], dispute.status_at, place


def _balanced(ledger: Ledger) -> Ledger:
    """What waits gets what Stripe's refunds leave; nothing while a dispute has the money.

    Stripe makes one refund of a charge at a time and none beyond its amount (https://docs.stripe.com/api/refunds/create),
    so a refund that we have asked for and that does not fit any more cannot have been made.
    """
    dispute = ledger.contested_by
    room = ledger.captured_amount - sum(
        refund.due_amount for refund in ledger.refunds if refund.stripe_refund_id is not None
    )
    if room < 0:
        raise MoreThanCaptured
    balanced: list[Refund] = []
    for refund in ledger.refunds:
        if not refund.waits:
            balanced.append(refund)
            continue
        wanted = refund.whole_amount
        left = 0 if dispute else min(wanted, room)
        room -= left
        balanced.append(
            replace(
                refund,
                status="pending" if left else "canceled",
                superseded_by=dispute.id if dispute else None,
                amount=left or wanted,
                wanted_amount=wanted if 0 < left < wanted else None,
                # Stripe refuses a key that comes with other parameters than before.
                key_number=refund.key_number + (refund.amount != (left or wanted)),
            )
        )
    return replace(ledger, refunds=tuple(balanced))


def _booking_status(ledger: Ledger) -> str | None:
    """The booking's: frozen while a dispute is open, revoked for good by one that is lost; else as it was."""
    standings = {dispute.standing for dispute in ledger.disputes}
    match ledger.booking_status:
        case "confirmed" | "frozen" if "lost" in standings:
            return "revoked"
        case "confirmed" | "frozen":
            return "frozen" if "open" in standings else "confirmed"
        case other:
            return other


def _row_id(stripe_id: str) -> str:
    """The id of our row of something that was made at Stripe: the same whoever hears of it first."""
    return str(uuid5(NAMESPACE_URL, f"https://api.stripe.com/{stripe_id}"))
