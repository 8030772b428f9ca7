"""Everything that can be said of the repository without running it: `make check`."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.prefix) / "bin"
PYTHON = sys.executable
# Where the functions find their packages.
FUNCTIONS = ".:shared:layers/postgres:layers/stripe"


@dataclass(frozen=True)
class Check:
    """One sentence about the repository, and the program that proves it."""

    claim: str
    command: Sequence[str]


def migrations() -> list[str]:
    """Return the migrations' paths, numbered files first."""
    return [str(path.relative_to(ROOT)) for path in sorted((ROOT / "migrations").rglob("*.sql"))]


def checks() -> list[Check]:
    """Return the checks, the longest first so that two at a time end together."""
    return [
        Check("types are sound", [PYTHON, "-m", "basedpyright"]),
        Check("the template is valid", [PYTHON, "-m", "samcli", "validate", "--lint"]),
        Check("the template follows AWS's good practice", [str(BIN.parent / "checkov" / "bin" / "checkov")]),
        Check("requirements are what uv.lock says", [PYTHON, "-m", "scripts.requirements", "check"]),
        Check("migrations lock no table in use", [str(BIN / "squawk"), "--reporter=gcc", *migrations()]),
        Check("lint is clean", [PYTHON, "-m", "ruff", "check", "--output-format=concise", "."]),
        Check("files are formatted", [PYTHON, "-m", "ruff", "format", "--check", "."]),
        Check(
            "docs/openapi.json is what the code says",
            ["env", f"PYTHONPATH={FUNCTIONS}", PYTHON, "-m", "scripts.openapi", "check"],
        ),
        Check("documents link to what is there", [PYTHON, "-m", "scripts.links"]),
    ]


def environment() -> dict[str, str]:
    """Return what the tools are told: no telemetry, no writing outside the repository, no colours in a log."""
    return os.environ | {
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "SAM_CLI_TELEMETRY": "0",
        "__SAM_CLI_APP_DIR": str(ROOT / ".aws-sam" / "settings"),
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_COLOR": "1",
    }


def run(check: Check) -> tuple[int, str, float]:
    """Run one check; its exit status, everything it said and the seconds it took."""
    started = time.monotonic()
    answer = subprocess.run(
        check.command,
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return answer.returncode, answer.stdout, time.monotonic() - started


def main() -> int:
    """Run all checks, two at a time, and say of each whether it holds; 1 if one does not."""
    failures = 0
    with ThreadPoolExecutor(max_workers=2) as pool:
        running = {pool.submit(run, check): check for check in checks()}
        for done in as_completed(running):
            status, output, seconds = done.result()
            print(f"check: {running[done].claim}: {'no' if status else 'yes'} ({seconds:.1f} s)", flush=True)
            if status:
                failures += 1
                print(output.rstrip(), flush=True)
    print(f"check: {'all hold' if not failures else f'{failures} broken'}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
