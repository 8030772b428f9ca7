"""What a promise is once it has been looked at, and what several of them are reckoned by."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from local.records import Records

# What stripe_gateway writes into the metadata of all that it makes. Written out here and not imported: who judges
# takes nothing from the judged.
RESERVATION_ID = "holdfast_reservation_id"
GONE = ("failed", "canceled")
# Of these disputes the customer's bank has the money (https://docs.stripe.com/disputes/how-disputes-work).
OPEN_DISPUTES = ("needs_response", "under_review", "appeal_needs_response", "appeal_under_review")
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise: how often it was put to the test, what each side says of it, and whether it held."""

    name: str
    figure: str
    database_says: str
    stripe_says: str
    held: bool


def going_back(records: Records) -> Counter[str]:
    """What has gone back or is due to, by intent."""
    back: Counter[str] = Counter()
    for refund in records.refunds:
        if refund["status"] not in GONE:
            back[refund["payment_intent_id"]] += refund["amount"]
    return back


def contested_intents(records: Records) -> set[str]:
    """The intents whose money the customer's bank has, or has for now."""
    return {
        dispute["payment_intent"]
        for dispute in records.disputes
        if dispute["status"] in (*OPEN_DISPUTES, "lost")
    }


def told_with(summary: str, wrong: Sequence[str]) -> str:
    """The summary, and the first few things that are wrong."""
    if not wrong:
        return summary
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return f"{summary}; BROKEN {'; '.join(wrong[:SHOWN])}{more}".removeprefix("; ")
