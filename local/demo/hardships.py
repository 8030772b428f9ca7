"""Whether the demo was as hard as its scenes announce."""

from collections import Counter

from local.breakage.cuts import CutPlan
from local.breakage.kills import Kills
from local.demo.scenes import ENVIRONMENTS_KILLED
from local.sale.evidence import Finding
from local.sale.ledger import Ledger
from local.sale.sale import Sale
from local.verdicts import told_with

# What must have happened to members; counted by their scenes.
OF_THE_STUDIO = (
    "refused: no credits left",
    "bookings moved",
    "moves refused: the other tab was first",
    "moves refused: no room",
    "cancelled late, for a part or nothing",
    "holds refused in classes that their schedule has left",
    "events queued while the database was away",
    "booked out of the queue",
    "brought back by reconciliation",
    "bookings disputed",
)


def hard_enough(sale: Sale, ledger: Ledger, kills: Kills, cuts: CutPlan) -> Finding:
    """A demo in which nothing went wrong would prove nothing: each hardship must have happened."""
    late = [buyer for buyer in sale.buyers if buyer.charged and buyer.reservation_id in sale.ended_by_force]
    seated = sum(buyer.reservation_id in ledger.bookings for buyer in late)
    reasons = Counter(ledger.refund_reasons.values())
    browser = sale.crowd.browser.seen
    hall = sale.counts["seats sold"] == sale.counts["seats"] and sale.counts["chairs sold"] == 1
    hardships = {
        "sold out": hall and sale.crowd.seen["sold out answers"] > 0,
        "double clicks": sale.crowd.seen["double clicks"] > 0,
        "declines": browser["declined"] > 0,
        "3-D Secure": browser["3-D Secure"] > 0,
        "both modes": all(
            sale.crowd.seen[f"payments as {mode}"] for mode in ("payment_intent", "checkout_session")
        ),
        "copies of events": any(event["attempts"] > 1 for event in ledger.deliveries),
        "calls cut off": sale.counts["Stripe calls cut off after their work"] > 0,
        "holds run out": sale.counts["holds that ran out"] > 0,
        "late and seated": seated > 0,
        "late and sold out": reasons["paid-late-sold-out"] > 0,
        "late and cancelled": reasons["reservation-cancelled"] > 0,
        "environments killed": kills.environments >= ENVIRONMENTS_KILLED,
        "PostgreSQL killed": kills.counts["postgres"] > 0,
        "Stripe killed": kills.counts["stripe_emulator"] > 0,
        "all of it killed": kills.counts["whole cloud"] > 0,
        "database connections cut": cuts.cuts.total() > 0,
        **{name: sale.counts[name] > 0 for name in OF_THE_STUDIO},
        "confirmed by the cleanup": sale.counts["holds paid at the deadline, confirmed by the cleanup"] > 0,
    }
    missing = [name for name, happened in hardships.items() if not happened]
    sale.counts["late payments seated"] = seated
    sale.counts["late payments refunded"] = len(late) - seated
    return Finding(
        "the sale was as hard as announced",
        f"{len(hardships) - len(missing)} of {len(hardships)} hardships",
        ", ".join(f"{count} refunded as {reason}" for reason, count in reasons.most_common()),
        "",
        told_with(
            ", ".join(name for name in hardships if name not in missing), [f"no {name}" for name in missing]
        ),
        not missing,
    )
