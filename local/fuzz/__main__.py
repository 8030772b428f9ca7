"""`make fuzz`: a cloud of its own, called by schemathesis with all that docs/openapi.json allows, and all that it does not.

Exit status 0 if nothing failed, every answer was as the document says, and no promise is broken afterwards.
"""

import argparse
import asyncio
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

from local.demo.cloud import ROOT, OwnCloud, cloud_of_its_own
from local.errors import CannotStart
from local.promises import broken, check_promises

DOCUMENT = ROOT / "docs" / "openapi.json"
SECONDS = 120
WORKERS = 2


def main() -> int:
    """Returns the exit status."""
    arguments = _parser().parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # the cloud is taken down either way
    print(f"seed {arguments.seed} (make fuzz SEED={arguments.seed} makes up the same again)", flush=True)
    try:
        with cloud_of_its_own(Path(arguments.state) / "fuzz", {}, schedules=False) as cloud:
            asyncio.run(cloud.ready())
            return max(_call_everything(cloud, arguments), _look_afterwards(cloud))
    except CannotStart as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the cloud is down", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.fuzz", description=__doc__)
    environment = os.environ
    seconds, seed = environment.get("SECONDS"), environment.get("SEED")
    parser.add_argument("--seconds", type=int, default=int(seconds or SECONDS), help="(SECONDS)")
    parser.add_argument(
        "--seed", type=int, default=int(seed or secrets.randbelow(10**6)), help="a number (SEED)"
    )
    parser.add_argument("--state", default=environment.get("STATE") or ".local", help="(STATE)")
    return parser


def _call_everything(cloud: OwnCloud, arguments: argparse.Namespace) -> int:
    folder = cloud.state.folder
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(Path(__file__).with_name("schemathesis.toml")),
    ]
    command += ["run", str(DOCUMENT), "--url", cloud.stack["base_url"], "--workers", str(WORKERS)]
    command += [
        "--max-time",
        str(arguments.seconds),
        "--seed",
        str(arguments.seed),
        "--phases",
        "coverage,fuzzing",
    ]
    command += [
        "--no-color",
        "--no-shrink",
        "--continue-on-failure",
        "--warnings",
        "off",
        "--suppress-health-check",
        "all",
    ]
    command += ["--generation-database", "none", "--request-timeout", "30"]
    command += ["--generation-with-security-parameters", "false"]
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
    """Whatever was called, every promise holds."""
    account = cloud.stack["stripe"]
    found = broken(
        check_promises(cloud.stack["database_admin_url"], account["api_base"], account["secret_key"])
    )
    for promise in found:
        print(f"BROKEN  {promise.name}: {promise.database_says} {promise.stripe_says}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
