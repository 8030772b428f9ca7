"""One cloud for every test of a worker; tests that kill all of it have their own."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.faults.cloud import Cloud


@pytest.fixture(scope="session")
def running_cloud(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cloud]:
    # No hold ends by itself while the tests share the cloud.
    with Cloud.running(tmp_path_factory.mktemp("cloud") / "state", hold_minutes=120) as cloud:
        yield cloud


@pytest.fixture
def cloud(running_cloud: Cloud) -> Generator[Cloud]:
    """A running cloud at which nothing goes wrong yet, and nothing that other tests began is left to do."""
    running_cloud.come_to_rest()
    yield running_cloud
    running_cloud.kill_file.unlink(missing_ok=True)
    running_cloud.faults()


@pytest.fixture
def own_cloud(tmp_path: Path) -> Generator[Cloud]:
    """A cloud that only this test has."""
    with Cloud.running(tmp_path / "state") as cloud:
        yield cloud
