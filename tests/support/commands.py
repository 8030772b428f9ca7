"""The project's programs, started as their make targets start them."""

import os
import subprocess
import sys
from collections.abc import Mapping

from local.paths import PACKAGES, ROOT

# What whoever runs the tests may have set for a program of their own.
_SETTINGS = ("SEED", "STEPS", "SECONDS", "MINUTES", "STATE", "REPLAY", "GUARDS")


def begin(module: str, *arguments: object) -> subprocess.Popen[str]:
    """`python -m module` with these arguments; what it says of errors is among what it says."""
    return subprocess.Popen(
        _command(module, arguments),
        cwd=ROOT,
        env=_surroundings(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(
    module: str, *arguments: object, timeout: float | None = None, settings: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """The same to its end, with these settings in its environment: how it ended and what it said."""
    return subprocess.run(
        _command(module, arguments),
        cwd=ROOT,
        env=_surroundings() | dict(settings),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def _command(module: str, arguments: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def _surroundings() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _SETTINGS}
    return kept | {"PYTHONPATH": PACKAGES}
