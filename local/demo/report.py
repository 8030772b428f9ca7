"""The table, the summary, and the same as JSON."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from local.demo.evidence import Finding
from local.demo.scenes import Sale

WIDTH = 116
WITNESSES = (("database", "the database"), ("stripe", "Stripe"), ("buyers", "the buyers"))


def print_table(found: Sequence[Finding]) -> None:
    """One promise after the other: verdict, figure, and what each witness says."""
    print(f"\n{'':8}{'promise':<70}figure\n{'-' * WIDTH}")
    for each in found:
        print(f"{'held' if each.held else 'BROKEN':<8}{each.promise:<70}{each.figure}")
        for name, witness in WITNESSES:
            if said := getattr(each, name):
                print(
                    textwrap.fill(
                        said, WIDTH, initial_indent=f"{'':8}{witness:<14}", subsequent_indent=" " * 22
                    )
                )
    print("-" * WIDTH)


def summary_of(sale: Sale, runs: Mapping[str, int]) -> dict[str, Any]:
    """The figures of the sale."""
    crowd, browser = sale.crowd, sale.crowd.browser.seen
    return {
        "buyers": len(sale.buyers),
        "holds granted": crowd.seen["holds granted"],
        "sold out answers": crowd.seen["sold out answers"],
        "seats sold": f"{sale.counts['seats sold']} of {sale.counts['seats']}",
        "chairs sold": f"{sale.counts['chairs sold']} of 1",
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
        "Stripe calls cut off after their work": sale.counts["Stripe calls cut off after their work"],
        "events / copies delivered": f"{sale.counts['events']} / {sale.counts['copies']}",
        "invocations / cold starts": f"{sum(runs.values()) - runs['cold starts']} / {runs['cold starts']}",
        "p50 of a hold, in the crowd": f"{_p50(sale, 'hold')} ms",
        "p50 of opening a payment, in the crowd": f"{_p50(sale, 'pay')} ms",
    }


def print_summary(summary: Mapping[str, Any]) -> None:
    """One figure a line."""
    for name, figure in summary.items():
        print(f"{name:<50}{figure}")


def write_report(file: Path, found: Sequence[Finding], **more: object) -> None:
    """The report as JSON, whole or not at all."""
    document = {
        "held": all(each.held for each in found),
        **more,
        "promises": [asdict(each) for each in found],
    }
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(document, indent=2) + "\n")
    unfinished.replace(file)


def _p50(sale: Sale, call: str) -> int:
    return round(median(sale.crowd.shop.milliseconds.get(call) or [0]))
