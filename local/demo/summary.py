"""What the demo's sale came to, in figures."""

from statistics import median
from typing import Any

from local.sale.report import Invocations, broken_by, classes, run_by
from local.sale.sale import Sale
from local.sale.stage import Stage


def summary_of(stage: Stage, runs: Invocations) -> dict[str, Any]:
    """The figures of the sale."""
    sale = stage.sale
    crowd, browser = sale.crowd, sale.crowd.browser.seen
    return {
        "buyers": len(sale.buyers),
        "holds granted": crowd.seen["holds granted"],
        "sold out answers": crowd.seen["sold out answers"],
        "seats sold": f"{sale.counts['seats sold']} of {sale.counts['seats']}",
        "chairs sold": f"{sale.counts['chairs sold']} of {sale.counts['chairs']}",
        "payments as intent / as hosted session": (
            f"{crowd.seen['payments as payment_intent']} / {crowd.seen['payments as checkout_session']}"
        ),
        "cards declined": browser["declined"],
        "3-D Secure steps": browser["3-D Secure"],
        "holds that ran out": sale.counts["holds that ran out"],
        "paid at the deadline, confirmed by the cleanup": sale.counts[
            "holds paid at the deadline, confirmed by the cleanup"
        ],
        "late payments seated / refunded": (
            f"{sale.counts['late payments seated']} / {sale.counts['late payments refunded']}"
        ),
        **classes(sale),
        **{
            name: sale.counts[name]
            for name in (
                "classes that their schedule has left",
                "events queued while the database was away",
                "brought back by reconciliation",
                "bookings disputed",
            )
        },
        "Stripe calls cut off after their work": sale.counts["Stripe calls cut off after their work"],
        **broken_by(stage),
        "events / copies delivered": f"{sale.counts['events']} / {sale.counts['copies']}",
        **run_by(runs),
        "p50 of a hold, in the crowd": f"{_p50(sale, 'hold')} ms",
        "p50 of opening a payment, in the crowd": f"{_p50(sale, 'pay')} ms",
    }


def _p50(sale: Sale, call: str) -> int:
    return round(median(sale.crowd.shop.milliseconds.get(call) or [0]))
