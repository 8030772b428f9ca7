"""Many buyers at once, and a flood of error reports beside them."""

from pathlib import Path

import pytest

from tests.support.commands import run


@pytest.mark.timeout(900)
def test_a_rush_beside_a_flood_of_errors_loses_no_sale_and_counts_exactly(tmp_path: Path) -> None:
    """Whoever comes is booked, each seat and each error is counted once, and every promise holds."""
    done = run("local.load", "--state", tmp_path, "--buyers", 20, "--seconds", 3)
    assert done.returncode == 0, done.stdout + done.stderr
