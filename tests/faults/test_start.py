"""A cloud that is hit in the moment in which it says that it is ready."""

import json
import os
import signal
import time
from pathlib import Path

import psycopg

from local.child import free_port
from tests.emulator_process import eventually
from tests.support.commands import begin


def test_a_database_killed_when_the_cloud_is_ready_comes_back(tmp_path: Path) -> None:
    """stack.json is there: from now on what dies is started again, and takes nothing with it."""
    file = tmp_path / "state/stack.json"
    cloud = begin(
        "local", "up", "--no-detach", "--emulator", "--schedules", "off", "--port", free_port(),
        "--state", file.parent,
    )  # fmt: skip
    with cloud:
        try:
            while not file.exists():
                assert cloud.poll() is None
                time.sleep(0.05)
            stack = json.loads(file.read_text())
            os.kill(stack["pids"]["postgres"], signal.SIGKILL)
            eventually(lambda: answers(stack["database_url"]) or cloud.poll() is not None, within=60)
            assert cloud.poll() is None, "the cloud has died with its database"
        finally:
            cloud.terminate()


def answers(database_url: str) -> bool:
    try:
        with psycopg.connect(database_url) as conn:
            return conn.execute("SELECT true").fetchone() == (True,)
    except psycopg.OperationalError:
        return False
