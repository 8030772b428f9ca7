"""Kill points kill on a machine-sized cloud, where a test asks for it, and nowhere else."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local.template import load_template

ROOT = Path(__file__).resolve().parents[2]
WALK = """
from runtime.kill_points import kill_point
kill_point("here.it-is")
print("alive")
"""


def walk_past(trap: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A process of a function in this environment that comes past an armed kill point."""
    trap.write_text("elsewhere.it-is\nhere.it-is")
    return subprocess.run(
        [sys.executable, "-c", WALK],
        env={"PYTHONPATH": str(ROOT / "shared"), "PATH": os.defpath, "KILL_POINT_FILE": str(trap)}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_local_function_dies_at_an_armed_point(tmp_path: Path) -> None:
    """By SIGKILL, and the file says where; the next one passes."""
    trap = tmp_path / "trap"
    died = walk_past(trap, {"ENVIRONMENT": "local"})
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["trap.here.it-is"]


@pytest.mark.parametrize("environment", ["dev", "staging", "prod", "LOCAL", "local ", "", None])
def test_nothing_kills_a_function_in_the_cloud(tmp_path: Path, environment: str | None) -> None:
    """Armed file and variable or not: where ENVIRONMENT is not `local`, nobody looks at it."""
    trap = tmp_path / "trap"
    passed = walk_past(trap, {} if environment is None else {"ENVIRONMENT": environment})
    assert (passed.returncode, passed.stdout) == (0, "alive\n"), passed.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["trap"]


@pytest.mark.parametrize("stage", ["dev", "staging", "prod"])
def test_the_template_arms_no_kill_point(stage: str) -> None:
    """No function gets the variable, and each is told the stage that it is deployed to."""
    template = load_template(
        ROOT / "template.yaml", parameters={"Environment": stage}, aws_endpoint_url="http://127.0.0.1:1"
    )
    for function in template.functions.values():
        assert "KILL_POINT_FILE" not in function.environment, function.name
        assert function.environment["ENVIRONMENT"] == stage, function.name


def test_the_template_cannot_be_deployed_as_local() -> None:
    """CloudFormation takes no Environment but these, and nobody writes the variable into a deploy."""
    text = (ROOT / "template.yaml").read_text()
    parameter = text.partition("\n  Environment:\n")[2].partition("\n\n")[0]
    assert "AllowedValues: [dev, staging, prod]" in parameter
    for file in ("template.yaml", "samconfig.toml"):
        assert "KILL_POINT_FILE" not in (ROOT / file).read_text()


def test_only_the_hook_reads_the_variable() -> None:
    """Nothing else that is deployed looks at KILL_POINT_FILE."""
    deployed = [
        file for folder in ("functions", "shared", "layers") for file in (ROOT / folder).rglob("*.py")
    ]
    readers = [file.relative_to(ROOT).as_posix() for file in deployed if "KILL_POINT" in file.read_text()]
    assert readers == ["shared/runtime/kill_points.py"]
