"""`make fuzz`: a cloud of its own, called by schemathesis with all that docs/openapi.json allows, and all that it does not.

Exit status 0 if nothing failed, every answer was as the document says, and no invariant is broken afterwards.
"""

import argparse
import asyncio
import os
import secrets
import subprocess
import sys
from pathlib import Path

import psycopg

from local.ending import exit_status
from local.own_cloud import OwnCloud, cloud_of_its_own
from local.paths import ROOT

DOCUMENT = ROOT / "docs" / "openapi.json"
SECONDS = 120


def main() -> int:
    """Returns the exit status."""
    arguments = _parser().parse_args()
    print(f"seed {arguments.seed} (make fuzz SEED={arguments.seed} makes up the same again)", flush=True)
    with cloud_of_its_own(Path(arguments.state) / "fuzz", {}, schedules=False) as cloud:
        asyncio.run(cloud.ready())
        return max(_call_everything(cloud, arguments), _look_afterwards(cloud))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.fuzz", description=__doc__)
    environment = os.environ
    seconds, seed = environment.get("SECONDS"), environment.get("SEED")
    parser.add_argument("--seconds", type=int, default=int(seconds or SECONDS), help="(SECONDS)")
    parser.add_argument(
        "--seed", type=int, default=int(seed or secrets.randbelow(10**6)), help="a number (SEED)"
    )
    parser.add_argument("--state", default=environment.get("STATE") or ".local", help="(STATE)")
    # So many of each operation and no more, for the tests.
    parser.add_argument("--examples", type=int, help=argparse.SUPPRESS)
    # To see that it can fail: a document that says what is not so.
    parser.add_argument("--document", default=str(DOCUMENT), help=argparse.SUPPRESS)
    return parser


def _call_everything(cloud: OwnCloud, arguments: argparse.Namespace) -> int:
    folder = cloud.state.folder
    config = Path(__file__).with_name("schemathesis.toml")
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(config),
        "run",
        arguments.document,
    ]
    command += ["--url", cloud.stack["base_url"], "--seed", str(arguments.seed)]
    if arguments.examples:
        command += ["--phases", "fuzzing", "--max-examples", str(arguments.examples)]
    else:
        command += ["--max-time", str(arguments.seconds)]
    surroundings = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "SCHEMATHESIS_HOOKS": "local.fuzz.hooks",
        "FUZZ_STACK": str(cloud.state.stack_file),
        "FUZZ_SEED": str(arguments.seed),
        "FUZZ_ANSWERS": str(folder / "answers"),
    }
    failed = subprocess.run(command, env=surroundings, cwd=folder, check=False).returncode
    _print_answers((folder / "answers").read_text())
    return failed


def _print_answers(lines: str) -> None:
    """Each operation, and how often it was answered what."""
    by_operation: dict[str, list[str]] = {}
    for line in lines.splitlines():
        operation, status, times = line.split()
        by_operation.setdefault(operation, []).append(f"{times} x {status}")
    for operation, said in by_operation.items():
        print(f"{operation:<40}{', '.join(said)}")


def _look_afterwards(cloud: OwnCloud) -> int:
    """Whatever was called, nothing is oversold, charged twice or lost."""
    with psycopg.connect(cloud.stack["database_admin_url"]) as conn:
        found = conn.execute("SELECT * FROM invariant_violations").fetchall()
    for row in found:
        print("BROKEN ", *row)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
