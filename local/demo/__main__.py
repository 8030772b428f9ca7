"""`make demo`: sells out a show through the real functions while things break, and prints what held.

Exit status 0 if every promise held, 1 if one is broken or the demo could not be played to its end.
"""

import argparse
import asyncio
import os
import secrets
import signal
import sys
import traceback
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from local.demo.browser import Browser
from local.demo.buyers import Buyer, Catalogue, Crowd
from local.demo.cloud import cloud_of_its_own
from local.demo.evidence import Finding, findings, invocations
from local.demo.hall_operator import Operator
from local.demo.report import print_summary, print_table, summary_of, write_report
from local.demo.scenes import Programme, Sale
from local.demo.script import BUYERS, seats_for, write_scripts
from local.demo.shop import Shop
from local.demo.weather import Weather
from local.errors import CannotStart

FEWEST_BUYERS = 60
CALL_TIMEOUT_S = 60


def main() -> int:
    """Returns the exit status."""
    arguments = _parser().parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # a background shell has SIGINT ignored
        signal.signal(number, signal.default_int_handler)  # the cloud is taken down either way
    folder = Path(arguments.state)
    report = folder / "demo-report.json"
    report.unlink(missing_ok=True)
    programme = Programme()
    print(
        f"seed {arguments.seed} (make demo SEED={arguments.seed} repeats the script; who wins a race may differ)"
    )
    try:
        programme.say("The cloud starts: PostgreSQL, Lambda's runtime, function URLs, schedules, a Stripe.")
        with cloud_of_its_own(folder / "demo") as stack:
            found, sale = asyncio.run(_play(arguments, stack, programme))
            runs = invocations(folder / "demo" / "logs")
        programme.say("The cloud is down.")
    except CannotStart as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the cloud is down", file=sys.stderr)
        return 130
    print_table(found)
    summary = summary_of(sale, runs)
    print_summary(summary)
    write_report(
        report, found, seed=arguments.seed, summary=summary, counts=dict(sale.counts), invocations=dict(runs),
        scenes=programme.scenes,
    )  # fmt: skip
    broken = [each.promise for each in found if not each.held]
    verdict = (
        f"{len(broken)} of {len(found)} promises BROKEN" if broken else f"all {len(found)} promises held"
    )
    programme.say(f"{verdict}; {report}")
    return 1 if broken else 0


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
    arguments: argparse.Namespace, stack: dict[str, Any], programme: Programme
) -> tuple[list[Finding], Sale]:
    connector, timeout = TCPConnector(limit=0), ClientTimeout(total=CALL_TIMEOUT_S)
    async with ClientSession(connector=connector, timeout=timeout) as http:
        sale = await _prepare(arguments, stack, programme, http)
        found: list[Finding] = []
        try:
            await sale.run()
        except Exception as failure:  # noqa: BLE001 - whatever it was, what has happened so far is judged
            found.append(_cut_short("the sale is played to its end", failure))
        programme.say("Every side is asked what it knows.")
        try:
            await sale.count()
            found += await findings(sale, stack)
        except Exception as failure:  # noqa: BLE001 - a witness that cannot be heard is no witness
            found.append(_cut_short("every side can be asked what it knows", failure))
        return found, sale


def _cut_short(promise: str, failure: Exception) -> Finding:
    traceback.print_exception(failure)
    return Finding(promise, "cut short", "", "", f"{type(failure).__name__}: {failure}", held=False)


async def _prepare(
    arguments: argparse.Namespace, stack: dict[str, Any], programme: Programme, http: ClientSession
) -> Sale:
    stripe = stack["stripe"]
    shop = Shop(http, stack["functions"])
    catalogue = await _catalogue(shop)
    operator = Operator(stack["database_admin_url"], catalogue.concert_id, catalogue.chair_id)
    await operator.open_hall(seats_for(arguments.buyers))
    if arguments.sabotage:
        programme.say("A guard is switched off: this demo should fail.")
        await operator.sabotage(arguments.sabotage)
    crowd = Crowd(shop, Browser(http, stripe["api_base"], stripe["secret_key"]), catalogue, arguments.seed)
    return Sale(
        http=http,
        base_url=stack["base_url"],
        buyers=[Buyer(script, crowd) for script in write_scripts(arguments.seed, arguments.buyers)],
        crowd=crowd,
        operator=operator,
        weather=Weather(http, stripe["api_base"], Random(f"{arguments.seed}:weather")),
        programme=programme,
        random=Random(f"{arguments.seed}:waiting list"),
    )


async def _catalogue(shop: Shop) -> Catalogue:
    offerings = {offering["slug"]: offering for offering in await shop.offerings()}
    concert, haircut = offerings["autumn-concert"], offerings["haircut"]
    return Catalogue(
        concert_id=(await shop.slots("autumn-concert"))[0]["id"],
        chair_id=(await shop.slots("haircut"))[0]["id"],
        seat_amount=concert["unit_amount"],
        chair_amount=haircut["unit_amount"],
        add_ons=[(add_on["id"], add_on["unit_amount"]) for add_on in concert["add_ons"]],
        currency=concert["currency"],
    )


if __name__ == "__main__":
    sys.exit(main())
