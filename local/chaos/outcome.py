"""What the siege has broken, in figures, and whether that was enough to prove anything."""

from typing import Any

from local.breakage.cuts import ACTS
from local.breakage.kills import kill_points
from local.chaos.siege import WHOLE_S, Siege
from local.sale.evidence import Finding
from local.sale.report import Invocations, broken_by, classes, run_by
from local.verdicts import told_with


def hard_enough(siege: Siege) -> Finding:
    """A siege that broke little would prove little."""
    kills, cuts = siege.stage.kills, siege.stage.cuts
    missing = siege.lacks()
    calm = [f"{kind} from Stripe" for kind, count in siege.storm.struck.items() if not count]
    if siege.seconds >= WHOLE_S:
        missing += calm
    points, uncut = kill_points(), cuts.uncut()
    died = sum(kills.counts[f"at {point}"] > 0 for point in points)
    return Finding(
        "the siege was as hard as it should be",
        f"{kills.counts.total()} kills, {cuts.cuts.total()} cuts",
        f"{len(ACTS) - len(uncut)} of {len(ACTS)} acts were cut at each boundary of theirs",
        ", ".join(f"{count} x {kind}" for kind, count in siege.storm.struck.items()),
        told_with(
            f"somebody died at {died} of {len(points)} kill points",
            [f"no {what}" for what in missing],
        ),
        not missing,
    )


def summary_of(siege: Siege, runs: Invocations) -> dict[str, Any]:
    """The figures of the siege."""
    sale = siege.stage.sale
    crowd, browser, counts = sale.crowd, sale.crowd.browser.seen, sale.counts
    acts = siege.stage.cuts.by_act()
    return {
        "buyers": len(siege.buyers),
        "holds granted": crowd.seen["holds granted"],
        "sold out answers": crowd.seen["sold out answers"],
        "payments as intent / as hosted session": (
            f"{crowd.seen['payments as payment_intent']} / {crowd.seen['payments as checkout_session']}"
        ),
        "charged / declined / closed": " / ".join(
            str(browser[end]) for end in ("paid", "declined", "closed")
        ),
        "seats sold": f"{counts['seats sold']} of {counts['seats']}",
        "chairs sold": f"{counts['chairs sold']} of {counts['chairs']}",
        "holds that ran out / ended by force": (
            f"{counts['holds that ran out']} / {counts['holds ended by force']}"
        ),
        **classes(sale),
        "second intents, as if a key was forgotten": counts["second intents"],
        "events / copies delivered": f"{counts['events']} / {counts['copies']}",
        **broken_by(siege.stage),
        **{
            f"  cut: {act}": f"{cut} of {places} boundaries, {cuts} cuts"
            for act, (cut, places, cuts) in acts.items()
        },
        "struck by Stripe": ", ".join(f"{count} x {kind}" for kind, count in siege.storm.struck.items()),
        "jobs that failed": ", ".join(f"{count} x {job}" for job, count in siege.failures.items()) or "none",
        **run_by(runs),
    }


def broken_at(siege: Siege) -> dict[str, Any]:
    """Everything that was broken, for the report."""
    return {
        "kills": dict(siege.stage.kills.counts),
        "cuts": siege.stage.cuts.to_json(),
        "stripe": dict(siege.storm.struck),
    }
