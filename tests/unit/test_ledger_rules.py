"""What becomes of money once it is in: refunds and disputes decide, in any order, as often as they come."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ledger import (
    MADE_AT_STRIPE,
    Dispute,
    DisputeSeen,
    Ledger,
    MoreThanCaptured,
    Refund,
    RefundSeen,
    reason_to_quarantine_fact,
    with_facts,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OURS = Refund("ours", 4500, "paid-late-sold-out")
LATE = Ledger("pay", "eur", 4500, refunds=(OURS,))
BOOKED = Ledger("pay", "eur", 4500, booking_status="confirmed")
MADE = RefundSeen("re_1", "pi_1", "ours", 4500, "eur", "pending")
BY_HAND = RefundSeen("re_hand", "pi_1", None, 1000, "eur", "succeeded")
DISPUTED = DisputeSeen("du_1", "pi_1", "needs_response", 4500, "eur", 4500, 0, NOW)

type Fact = RefundSeen | DisputeSeen


def entered(ledger: Ledger, *facts: Fact) -> Ledger:
    """The ledger after these facts, each heard alone."""
    for fact in facts:
        refunds = [fact] if isinstance(fact, RefundSeen) else []
        disputes = [fact] if isinstance(fact, DisputeSeen) else []
        ledger = with_facts(ledger, refunds, disputes)
    return ledger


def dispute(status: str, *, hours: float = 0, **changed: int) -> DisputeSeen:
    return replace(DISPUTED, status=status, seen_at=NOW + timedelta(hours=hours), **changed)


def only(refunds: Sequence[Refund]) -> Refund:
    (refund,) = refunds
    return refund


def test_a_refund_of_ours_is_found_by_our_id_and_climbs() -> None:
    """Pending at Stripe, then succeeded; the row is one, and nothing is left to send."""
    pending = entered(LATE, MADE)
    assert only(pending.refunds) == replace(OURS, stripe_refund_id="re_1")
    assert pending.to_send == frozenset()
    done = entered(pending, replace(MADE, status="succeeded"))
    assert only(done.refunds).status == "succeeded"
    assert entered(done, MADE) == done


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_a_refund_of_ours_that_came_to_nothing_is_to_be_sent_again_under_another_key(status: str) -> None:
    """The money is still owed; what is said of the failed one afterwards is old."""
    failed = entered(LATE, MADE, replace(MADE, status=status))
    row = only(failed.refunds)
    assert (row.status, row.stripe_refund_id, row.key_number) == ("pending", None, 2)
    assert row.failed_stripe_refund_ids == ("re_1",)
    assert failed.to_send == {"ours"}
    assert entered(failed, MADE, replace(MADE, status="succeeded")) == failed
    again = entered(failed, replace(MADE, stripe_refund_id="re_2", status="succeeded"))
    assert (only(again.refunds).stripe_refund_id, only(again.refunds).status) == ("re_2", "succeeded")


def test_a_refund_made_in_the_dashboard_is_recorded_once() -> None:
    """However often it is told, one row."""
    told = entered(BOOKED, BY_HAND, BY_HAND)
    row = only(told.refunds)
    assert (row.amount, row.status, row.reason) == (1000, "succeeded", MADE_AT_STRIPE)
    failed = entered(told, replace(BY_HAND, status="failed"))
    assert only(failed.refunds).status == "failed"
    assert failed.to_send == frozenset()


def test_ours_shrinks_to_what_a_refund_by_hand_leaves_and_grows_back() -> None:
    """Stripe cannot have made ours beside it: less is asked for, under another key; all of it if that one fails."""
    shrunk = entered(LATE, BY_HAND)
    row = shrunk.refunds[0]
    assert (row.amount, row.wanted_amount, row.key_number, row.status) == (3500, 4500, 2, "pending")
    grown = entered(shrunk, replace(BY_HAND, status="failed"))
    assert (grown.refunds[0].amount, grown.refunds[0].wanted_amount) == (4500, None)


def test_ours_is_canceled_where_a_refund_by_hand_leaves_nothing() -> None:
    """All of it has gone back already: nothing is sent, and nothing went wrong."""
    ended = entered(LATE, replace(BY_HAND, amount=4500))
    assert ended.refunds[0].status == "canceled"
    assert ended.to_send == frozenset()
    assert entered(ended, replace(BY_HAND, amount=4500, status="failed")).to_send == {"ours"}


def test_of_a_refund_that_was_made_in_part_the_rest_is_still_owed() -> None:
    """Made while another took up the room, and that one failed: the rest is sent, and no more than the rest."""
    part = replace(MADE, amount=3500, status="succeeded")
    in_order = entered(LATE, BY_HAND, part, replace(BY_HAND, status="failed"))
    assert [refund.due_amount for refund in in_order.refunds] == [3500, 0, 1000]
    assert in_order.to_send == {in_order.refunds[2].id}
    assert state(entered(LATE, replace(BY_HAND, status="failed"), part, BY_HAND)) == state(in_order)


def test_refunds_beyond_the_payment_are_not_believed() -> None:
    """Stripe makes none beyond what was paid: something is missing that makes room."""
    with pytest.raises(MoreThanCaptured):
        entered(BOOKED, replace(BY_HAND, amount=4500), replace(BY_HAND, stripe_refund_id="re_more"))


def test_what_makes_room_is_taken_first() -> None:
    """Told together, a failed refund gives way to the one that was made after it."""
    told = with_facts(
        entered(BOOKED, replace(BY_HAND, amount=4500)),
        [replace(BY_HAND, stripe_refund_id="re_more"), replace(BY_HAND, amount=4500, status="failed")],
        [],
    )
    assert sum(refund.due_amount for refund in told.refunds) == 1000


@pytest.mark.parametrize(
    ("status", "booking"),
    [
        ("needs_response", "frozen"),
        ("under_review", "frozen"),
        ("appeal_needs_response", "frozen"),
        ("appeal_under_review", "frozen"),
        ("a_word_of_next_year", "frozen"),
        ("won", "confirmed"),
        ("lost", "revoked"),
        ("warning_needs_response", "confirmed"),
        ("warning_under_review", "confirmed"),
        ("warning_closed", "confirmed"),
    ],
)
def test_a_dispute_freezes_a_lost_one_revokes_and_an_inquiry_does_nothing(status: str, booking: str) -> None:
    """What each of Stripe's words comes to for a confirmed booking."""
    assert entered(BOOKED, dispute(status)).booking_status == booking


@pytest.mark.parametrize("booking", ["cancelled", "revoked", None])
def test_a_dispute_changes_no_booking_that_is_over(booking: str | None) -> None:
    """Cancelled stays cancelled; revoked is final, whatever is won later."""
    ledger = replace(BOOKED, booking_status=booking)
    for status in ("needs_response", "lost", "won"):
        assert entered(ledger, dispute(status)).booking_status == booking


def test_a_booking_is_restored_when_the_last_of_its_disputes_is_won() -> None:
    """Several disputes a payment: any open one freezes, any lost one revokes."""
    other = replace(DISPUTED, stripe_dispute_id="du_2")
    both = entered(BOOKED, DISPUTED, other, dispute("won"))
    assert both.booking_status == "frozen"
    assert entered(both, replace(other, status="won")).booking_status == "confirmed"
    assert entered(both, replace(other, status="lost")).booking_status == "revoked"


def test_a_dispute_that_was_prevented_is_lost_where_its_money_was_taken() -> None:
    """Blocked, it takes nothing; resolved, the money went back by it."""
    assert entered(BOOKED, dispute("prevented", withdrawn_amount=0)).booking_status == "confirmed"
    assert entered(BOOKED, dispute("prevented")).booking_status == "revoked"


def test_a_decision_that_is_appealed_is_open_again() -> None:
    """Of decisions and appeals the newest counts, in whichever order they are told."""
    words = [dispute("won", hours=1), dispute("appeal_under_review", hours=2), dispute("won", hours=3)]
    assert entered(BOOKED, *words[:2]).booking_status == "frozen"
    assert entered(BOOKED, *words).booking_status == "confirmed"
    assert entered(BOOKED, *reversed(words)).booking_status == "confirmed"


def test_a_dispute_supersedes_a_refund_that_waits_until_it_is_won() -> None:
    """While it is open or lost nothing is sent; won, the refund is due again."""
    superseded = entered(LATE, DISPUTED)
    row = only(superseded.refunds)
    assert (row.status, row.superseded_by) == ("canceled", superseded.disputes[0].id)
    assert superseded.to_send == frozenset()
    assert entered(superseded, dispute("lost")).to_send == frozenset()
    assert entered(superseded, dispute("won")).to_send == {"ours"}
    assert entered(LATE, dispute("warning_needs_response")).to_send == {"ours"}


def test_a_superseded_refund_that_was_made_after_all_has_stripes_status() -> None:
    """It was on its way when the dispute came."""
    told = entered(LATE, DISPUTED, replace(MADE, status="succeeded"))
    assert (only(told.refunds).status, only(told.refunds).superseded_by) == ("succeeded", None)


def test_a_pending_refund_that_its_dispute_fails_is_superseded() -> None:
    """Stripe fails it (charge_for_pending_refund_disputed): it is not asked for again."""
    told = entered(LATE, MADE, DISPUTED, replace(MADE, status="failed"))
    assert (only(told.refunds).status, told.to_send) == ("canceled", frozenset())


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (MADE, None),
        (DISPUTED, None),
        (replace(MADE, currency="usd"), "currency"),
        (replace(DISPUTED, currency="usd"), "currency"),
        (replace(MADE, amount=4501), "amount"),
        (replace(MADE, amount=0), "amount"),
        (replace(DISPUTED, amount=-1), "amount"),
        (replace(DISPUTED, amount=5000), None),
    ],
)
def test_the_gate_names_what_does_not_fit(seen: Fact, reason: str | None) -> None:
    """A refund in the payment's currency and of no more than it; a dispute may be about another amount."""
    assert reason_to_quarantine_fact(LATE, seen) == reason


FACTS: list[Fact] = [
    MADE,
    replace(MADE, status="succeeded"),
    replace(MADE, status="failed"),
    replace(BY_HAND, status="pending"),
    BY_HAND,
    replace(BY_HAND, status="failed"),
    replace(MADE, stripe_refund_id="re_part", amount=3500, status="succeeded"),
    dispute("warning_needs_response", withdrawn_amount=0),
    dispute("needs_response", hours=1),
    dispute("under_review", hours=2),
    dispute("won", hours=3, reinstated_amount=4500),
]


def state(ledger: Ledger) -> tuple[object, ...]:
    """All that matters of a ledger: not the number of keys that were taken on the way."""
    refunds = {replace(refund, key_number=1, superseded_by=None) for refund in ledger.refunds}
    disputes: set[Dispute] = set(ledger.disputes)
    return refunds, disputes, ledger.booking_status, ledger.to_send


def looking_up(ledger: Ledger, facts: Sequence[Fact], truth: Sequence[Fact]) -> Ledger:
    """The ledger after these facts, heard one by one; where they cannot be all, Stripe's list of refunds helps."""
    listed = [fact for fact in truth if isinstance(fact, RefundSeen)]
    for fact in facts:
        try:
            ledger = entered(ledger, fact)
        except MoreThanCaptured:
            ledger = with_facts(ledger, [*listed, *([fact] if isinstance(fact, RefundSeen) else [])], [])
    return ledger


def possible(facts: Sequence[Fact]) -> bool:
    """Whether Stripe can have said all of it: not more alive in the end than was paid."""
    alive = {fact.stripe_refund_id: fact.amount for fact in facts if isinstance(fact, RefundSeen)}
    for fact in facts:
        if isinstance(fact, RefundSeen) and fact.status == "failed":
            alive.pop(fact.stripe_refund_id, None)
    return sum(alive.values()) <= LATE.captured_amount


@given(st.lists(st.sampled_from(FACTS), max_size=8).filter(possible), st.randoms(use_true_random=False))
def test_order_and_duplicates_do_not_matter(facts: list[Fact], random: Random) -> None:
    """Any set of facts about refunds and disputes, in any order, any of them twice: the same end."""
    for ledger in (LATE, replace(LATE, booking_status="confirmed")):
        shuffled = [*facts, *random.sample(facts, len(facts) // 2)]
        random.shuffle(shuffled)
        assert state(looking_up(ledger, shuffled, facts)) == state(looking_up(ledger, facts, facts))


@given(st.lists(st.sampled_from(FACTS), max_size=10).filter(possible))
def test_refunds_never_come_to_more_than_was_paid(facts: list[Fact]) -> None:
    """Whatever Stripe says, what has gone back and what is still to be sent fit the payment."""
    ledger = looking_up(LATE, facts, facts)
    assert sum(refund.due_amount for refund in ledger.refunds) <= ledger.captured_amount
