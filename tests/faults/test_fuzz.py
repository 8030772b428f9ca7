"""Every function, called with what its document allows and with what it does not."""

import os
import subprocess
import sys
from pathlib import Path

from local.demo.cloud import PACKAGES, ROOT

EXAMPLES = 10
SEED = 1


def test_no_function_fails_or_answers_what_its_document_does_not_say(tmp_path: Path) -> None:
    """No 5xx, no undocumented status, problem, header or shape; what is not allowed is refused; no invariant is broken."""
    command = [sys.executable, "-m", "local.fuzz", "--state", str(tmp_path)]
    command += ["--examples", str(EXAMPLES), "--seed", str(SEED)]

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
