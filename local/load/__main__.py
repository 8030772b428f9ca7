"""`make load`: 200 buyers at a time for a minute, and a flood of error reports beside them; then all is counted.

Exit status 0 if no sale was lost, every count is exact and every promise held.
"""

import argparse
import asyncio
import os
import secrets
import sys
from pathlib import Path

from local.child import free_port
from local.ending import exit_status
from local.load.rush import Rush, figures, rush_findings
from local.own_cloud import OwnCloud, cloud_of_its_own
from local.sale.evidence import Finding, cut_short, findings
from local.sale.ledger import Ledger
from local.sale.programme import Programme
from local.sale.report import close
from local.sale.stage import on_stage

BUYERS = 200
SECONDS = 60.0
SEATS = 1_000_000


def main() -> int:
    """Returns the exit status."""
    arguments = _parser().parse_args()
    folder = Path(arguments.state)
    report = folder / "load-report.json"
    report.unlink(missing_ok=True)
    programme = Programme()
    programme.say("The cloud starts.")
    with cloud_of_its_own(folder / "load", {}) as cloud:
        found, rush = asyncio.run(_rush(arguments, cloud, programme))
    programme.say("The cloud is down.")
    return close(programme, report, found, figures(rush), seed=arguments.seed, seconds=arguments.seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.load", description=__doc__)
    environment = os.environ
    seconds = environment.get("SECONDS") or SECONDS
    parser.add_argument("--seconds", type=float, default=seconds, help="how long (SECONDS)")
    parser.add_argument("--buyers", type=int, default=BUYERS, help="how many at a time")
    parser.add_argument("--seed", default=environment.get("SEED") or secrets.token_hex(3), help="(SEED)")
    parser.add_argument("--state", default=environment.get("STATE") or ".local", help="(STATE)")
    # To see that it can fail: SQL that switches a guard off before the rush.
    parser.add_argument("--sabotage", metavar="SQL", help=argparse.SUPPRESS)
    return parser


async def _rush(
    arguments: argparse.Namespace, cloud: OwnCloud, programme: Programme
) -> tuple[list[Finding], Rush]:
    seed = arguments.seed
    async with on_stage(
        cloud, free_port(), programme, seed=seed, seats=SEATS, sabotage=arguments.sabotage
    ) as stage:
        sale = stage.sale
        admin = {"Authorization": f"Bearer {cloud.stack['admin_token']}"}
        await sale.crowd.shop.room(sale.crowd.catalogue.concert_id, SEATS, admin)
        rush = Rush(stage, seed, arguments.buyers, arguments.seconds)
        found: list[Finding] = []
        try:
            await rush.run()
        except Exception as failure:  # noqa: BLE001 - whatever it was, what has happened so far is judged
            found.append(cut_short("the rush goes on to its end", failure))
        programme.say("Every side is asked what it knows.")
        await sale.count()
        ledger = await Ledger.read(sale, cloud.stack)
        found += rush_findings(rush, ledger, cloud.stack["database_admin_url"])
        found += await findings(sale, cloud.stack, ledger, killed=0)
        return found, rush


if __name__ == "__main__":
    sys.exit(exit_status(main))
