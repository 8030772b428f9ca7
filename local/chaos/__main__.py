"""`make chaos`: a sale under siege for some minutes; then every promise is checked from outside.

Exit status 0 if every promise held, 1 if one is broken or the siege was not what it should be.
"""

import argparse
import asyncio
import os
import secrets
import sys
from pathlib import Path
from random import Random

from local.breakage.kills import Traps
from local.chaos.outcome import broken_at, hard_enough, summary_of
from local.chaos.siege import Siege
from local.chaos.storm import Storm
from local.child import free_port
from local.ending import exit_status
from local.own_cloud import OwnCloud, cloud_of_its_own
from local.sale.evidence import Finding, cut_short, findings
from local.sale.ledger import Ledger
from local.sale.programme import Programme
from local.sale.report import Invocations, close
from local.sale.stage import on_stage, through_proxy
from local.sale.studio import CANCEL_POLICY
from local.sale.studio_evidence import studio_findings

SECONDS = 120.0
SEATS = 20


def main() -> int:
    """Returns the exit status."""
    arguments = _parser().parse_args()
    folder = Path(arguments.state)
    report = folder / "chaos-report.json"
    report.unlink(missing_ok=True)
    programme = Programme()
    print(
        f"seed {arguments.seed} (make chaos SEED={arguments.seed} draws the same again; what it meets may differ)"
    )
    port, traps = free_port(), Traps(folder.resolve() / "chaos" / "kill-points")
    environment = through_proxy(port) | {"CANCEL_POLICY": CANCEL_POLICY, "KILL_POINT_FILE": str(traps.file)}
    programme.say("The cloud starts, with its schedules on.")
    with cloud_of_its_own(folder / "chaos", environment) as cloud:
        found, siege = asyncio.run(_besiege(arguments, cloud, port, traps, programme))
        runs = Invocations.told_by(folder / "chaos" / "logs")
    programme.say("The cloud is down.")
    return close(
        programme, report, found, summary_of(siege, runs), seed=arguments.seed, seconds=arguments.seconds,
        broken_at=broken_at(siege), invocations=dict(runs.by_function),
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.chaos", description=__doc__)
    environment = os.environ
    seconds = environment.get("SECONDS") or float(environment.get("MINUTES") or SECONDS / 60) * 60
    parser.add_argument("--seconds", type=float, default=seconds, help="how long (SECONDS, or MINUTES)")
    parser.add_argument("--seed", default=environment.get("SEED") or secrets.token_hex(3), help="(SEED)")
    parser.add_argument("--state", default=environment.get("STATE") or ".local", help="(STATE)")
    # To see that it finds what is broken: SQL that switches a guard off.
    parser.add_argument("--sabotage", metavar="SQL", help=argparse.SUPPRESS)
    return parser


async def _besiege(
    arguments: argparse.Namespace, cloud: OwnCloud, port: int, traps: Traps, programme: Programme
) -> tuple[list[Finding], Siege]:
    seed = arguments.seed
    async with on_stage(cloud, port, programme, seed=seed, seats=SEATS, sabotage=arguments.sabotage) as stage:
        storm = Storm(stage.sale.weather, Random(f"{seed}:storm"))
        siege = Siege(stage, traps, storm, seed, arguments.seconds)
        found: list[Finding] = []
        try:
            await siege.run()
            await siege.come_to_rest()
        except Exception as failure:  # noqa: BLE001 - whatever it was, what has happened so far is judged
            found.append(cut_short("the siege goes on to its end", failure))
        programme.say("Every side is asked what it knows.")
        try:
            await stage.sale.count()
            ledger = await Ledger.read(stage.sale, cloud.stack)
            found += await findings(stage.sale, cloud.stack, ledger, killed=stage.kills.environments)
            found += await studio_findings(stage.sale, ledger)
            found.append(hard_enough(siege))
        except Exception as failure:  # noqa: BLE001 - a witness that cannot be heard is no witness
            found.append(cut_short("every side can be asked what it knows", failure))
        return found, siege


if __name__ == "__main__":
    sys.exit(exit_status(main))
