"""Many buyers at once, and a flood of error reports beside them."""

import os
import subprocess
import sys
from pathlib import Path

from local.demo.cloud import PACKAGES, ROOT


def test_a_rush_beside_a_flood_of_errors_loses_no_sale_and_counts_exactly(tmp_path: Path) -> None:
    """Whoever comes is booked, each seat and each error is counted once, and every promise holds."""
    command = [
        sys.executable,
        "-m",
        "local.load",
        "--state",
        str(tmp_path),
        "--buyers",
        "20",
        "--seconds",
        "3",
    ]

    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": PACKAGES},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
