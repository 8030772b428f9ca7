"""One build for all tests that look at it."""

import fcntl
import os

import pytest

from tests.build.artefacts import HERE, Built, built_before, sam_build


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Built once a run, by whichever of its processes comes first."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "sam"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return built_before(folder) or sam_build(folder, HERE)
