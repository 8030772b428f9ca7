"""No function outlives the cloud that runs it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from local.child import birth
from tests.emulator_process import eventually
from tests.integration.local_cloud import state_of

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from tests.integration.local_cloud import cloud, eventually, state_of

async def run():
    async with cloud(Path(sys.argv[1]), obedient=1) as running:
        busy = asyncio.create_task(running.get("/narrow/?seconds=30"))
        frozen = running.only("obedient").pid
        await eventually(lambda: running.pool("narrow").environments and state_of(frozen) == "T")
        at_work = running.only("narrow").pid
        await asyncio.sleep(0.1)
        await eventually(lambda: state_of(at_work) == "S")
        print(json.dumps([frozen, at_work]), flush=True)
        await busy

asyncio.run(run())
"""


def test_a_killed_cloud_leaves_neither_frozen_nor_busy_processes(tmp_path: Path) -> None:
    """A parent killed with -9 takes all execution environments with it, those that are stopped too."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        pids: list[int] = json.loads(parent.stdout.readline())
        assert state_of(pids[0]) == "T"
        eventually(lambda: state_of(pids[1]) == "S")
        os.kill(parent.pid, signal.SIGKILL)
    eventually(lambda: all(birth(pid) is None for pid in pids))
