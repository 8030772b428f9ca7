"""Every function, called with what its document allows and with what it does not."""

from pathlib import Path

import pytest

from tests.support.commands import run

EXAMPLES = 10
SEED = 1


@pytest.mark.timeout(900)
def test_no_function_fails_or_answers_what_its_document_does_not_say(tmp_path: Path) -> None:
    """No 5xx, no undocumented status, problem, header or shape; what is not allowed is refused; no invariant is broken."""
    done = run("local.fuzz", "--state", tmp_path, "--examples", EXAMPLES, "--seed", SEED)
    assert done.returncode == 0, done.stdout + done.stderr
