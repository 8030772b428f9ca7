"""One slot that everybody wants: `reserve_tickets` through `database`, against pgbench on the same function."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

from bench.figures import Aim, Figure, Spread
from bench.shop import Shop
from bench.stand import ROOT, Stand
from local.paths import PACKAGES

CONNECTIONS = 32
PROCESSES = 2
CONNECTING_S = 2.0
# The arguments that `bench.callers` gives, made by the server: pgbench has no UUIDs.
SCRIPT = """\
SELECT reserve_tickets(gen_random_uuid(), 'buyer-' || gen_random_uuid() || '@example.com', 'Ada Example', NULL,
    '[{{"slot_id": "{slot}", "units": 1, "add_ons": []}}]', '15 minutes', '30 minutes',
    gen_random_uuid()::text, repeat('0', 64), 'bench');
"""


def pgbench(stand: Stand) -> Path:
    """The program beside the server, else Debian's."""
    beside = stand.postgres.binaries / "pgbench"
    if beside.exists():
        return beside
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"), reverse=True)))


async def measure(stand: Stand, rounds: int, seconds: float) -> list[Figure]:
    """Holds a second, `rounds` of each side in turn, each on a fresh slot."""
    shop = Shop(stand)
    program = pgbench(stand)
    ours: list[list[float]] = []
    limit: list[list[float]] = []
    try:
        for _ in range(rounds):
            ours.append(await asyncio.to_thread(_through_database, stand, shop.new_slot(), seconds))
            limit.append(await asyncio.to_thread(_through_pgbench, stand, program, shop.new_slot(), seconds))
    finally:
        shop.close()
    topic = f"hot slot, {CONNECTIONS} connections"
    against = "pgbench on the same function"
    return [
        Figure(
            topic,
            "reserve_tickets through `database`",
            "/s",
            Spread.of([len(taken) / seconds for taken in ours]),
            against,
            Spread.of([len(taken) / seconds for taken in limit]),
            Aim("at least", 0.6),
            note=f"{PROCESSES} processes of {CONNECTIONS // PROCESSES} threads",
            why="the callers' Python shares its cores with the server",
        ),
        Figure(
            topic,
            "one of these calls",
            "ms",
            Spread.of([ms for taken in ours for ms in taken]),
            against,
            Spread.of([ms for taken in limit for ms in taken]),
            None,
        ),
    ]


def _through_database(stand: Stand, slot: UUID, seconds: float) -> list[float]:
    command = [sys.executable, "-m", "bench.callers", stand.app_url(), str(slot)]
    command += [str(CONNECTIONS // PROCESSES), str(time.time() + CONNECTING_S), str(seconds)]
    environment = os.environ | {"PYTHONPATH": PACKAGES}
    callers = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) for _ in range(PROCESSES)
    ]
    return [ms for caller in callers for ms in json.loads(caller.communicate()[0])]


def _through_pgbench(stand: Stand, program: Path, slot: UUID, seconds: float) -> list[float]:
    script, log = stand.folder / "hold.sql", stand.folder / "pgbench"
    script.write_text(SCRIPT.format(slot=slot).replace("\n    ", " "))
    command = [str(program), "--no-vacuum", "--client", str(CONNECTIONS), "--jobs", str(PROCESSES)]
    command += ["--time", str(round(seconds)), "--file", str(script), "--log", f"--log-prefix={log}"]
    subprocess.run([*command, stand.app_url()], check=True, capture_output=True, cwd=stand.folder)
    taken: list[float] = []
    for part in stand.folder.glob("pgbench.*"):
        taken += [int(line.split()[2]) / 1000 for line in part.read_text().splitlines()]
        part.unlink()
    return taken
