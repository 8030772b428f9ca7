"""`make demo`: sells out a show through the real functions while things break, and prints what held.

Exit status 0 if every promise held, 1 if one is broken or the demo could not be played to its end.
"""

import argparse
import asyncio
import os
import secrets
import sys
from pathlib import Path

from local.child import free_port
from local.demo.hardships import hard_enough
from local.demo.scenes import Story
from local.demo.summary import summary_of
from local.ending import exit_status
from local.own_cloud import OwnCloud, cloud_of_its_own
from local.sale.evidence import Finding, cut_short, findings
from local.sale.ledger import Ledger
from local.sale.programme import Programme
from local.sale.report import Invocations, close
from local.sale.script import BUYERS, seats_for, write_scripts
from local.sale.stage import Stage, on_stage, through_proxy
from local.sale.studio import CANCEL_POLICY
from local.sale.studio_evidence import studio_findings

FEWEST_BUYERS = 60


def main() -> int:
    """Returns the exit status."""
    arguments = _parser().parse_args()
    folder = Path(arguments.state)
    report = folder / "demo-report.json"
    report.unlink(missing_ok=True)
    programme = Programme()
    print(
        f"seed {arguments.seed} (make demo SEED={arguments.seed} repeats the script; who wins a race may differ)"
    )
    port = free_port()
    environment = through_proxy(port) | {"CANCEL_POLICY": CANCEL_POLICY}
    programme.say("The cloud starts: PostgreSQL, Lambda's runtime, function URLs, schedules, a Stripe.")
    with cloud_of_its_own(folder / "demo", environment) as cloud:
        found, stage = asyncio.run(_play(arguments, cloud, port, programme))
        runs = Invocations.told_by(folder / "demo" / "logs")
    programme.say("The cloud is down.")
    return close(
        programme, report, found, summary_of(stage, runs), seed=arguments.seed, counts=dict(stage.sale.counts),
        invocations=dict(runs.by_function), kills=dict(stage.kills.counts), cuts=stage.cuts.to_json(),
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.demo", description=__doc__)
    environment = os.environ
    parser.add_argument("--seed", default=environment.get("SEED") or secrets.token_hex(3), help="(SEED)")
    parser.add_argument("--state", default=environment.get("STATE") or ".local", help="(STATE)")
    parser.add_argument("--buyers", type=_enough, default=BUYERS, help=argparse.SUPPRESS)
    # To see that the demo can fail: SQL that switches a guard off before the doors open.
    parser.add_argument("--sabotage", metavar="SQL", help=argparse.SUPPRESS)
    return parser


def _enough(text: str) -> int:
    if int(text) < FEWEST_BUYERS:
        raise argparse.ArgumentTypeError(f"the story needs {FEWEST_BUYERS} buyers")
    return int(text)


async def _play(
    arguments: argparse.Namespace, cloud: OwnCloud, port: int, programme: Programme
) -> tuple[list[Finding], Stage]:
    async with on_stage(
        cloud,
        port,
        programme,
        seed=arguments.seed,
        seats=seats_for(arguments.buyers),
        scripts=write_scripts(arguments.seed, arguments.buyers),
        sabotage=arguments.sabotage,
    ) as stage:
        sale = stage.sale
        found: list[Finding] = []
        try:
            await Story(sale, stage.kills, stage.cuts, stage.network).play()
        except Exception as failure:  # noqa: BLE001 - whatever it was, what has happened so far is judged
            found.append(cut_short("the sale is played to its end", failure))
        programme.say("Every side is asked what it knows.")
        try:
            await sale.count()
            ledger = await Ledger.read(sale, cloud.stack)
            found += await findings(sale, cloud.stack, ledger, killed=stage.kills.environments)
            found += await studio_findings(sale, ledger)
            found.append(hard_enough(sale, ledger, stage.kills, stage.cuts))
        except Exception as failure:  # noqa: BLE001 - a witness that cannot be heard is no witness
            found.append(cut_short("every side can be asked what it knows", failure))
        return found, stage


if __name__ == "__main__":
    sys.exit(exit_status(main))
