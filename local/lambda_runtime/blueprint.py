"""What one function's processes see: its own code, its own layers with their packages, and nothing else."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from local.cloudformation import REGION
from local.errors import CannotStart
from local.template import LambdaFunction

SHIFTED_CLOCK = Path(__file__).with_name("shifted_clock.py")
# What AWS's image for Python brings along: the runtime client and boto3, with what they need.
IMAGE_PACKAGES = (
    *("awslambdaric", "simplejson", "snapshot-restore-py", "boto3", "botocore", "s3transfer"),
    *("jmespath", "python-dateutil", "six", "urllib3"),
)


class PackageMissing(CannotStart):
    """A requirement of a function or layer is not installed in this environment."""


@dataclass(frozen=True)
class Blueprint:
    """How to start a function's processes."""

    function: LambdaFunction
    command: tuple[str, ...]
    environment: Mapping[str, str]
    task_root: Path


def draw(function: LambdaFunction, environment: Mapping[str, str], folder: Path) -> Blueprint:
    """Lay out `folder` as Lambda lays out /var/task and the packages; links, so that edits count at the next start.

    The interpreter runs without its site-packages: a package that neither the function nor its layers require
    cannot be imported, as in the cloud.
    """
    task_root, packages = folder / "task", folder / "packages"
    code = task_root
    if function.parent_packages:  # SAM's explicit mode: CodeUri becomes the innermost of these packages
        code = task_root.joinpath(*function.parent_packages.split("."))
    code.parent.mkdir(parents=True, exist_ok=True)
    _link(code, function.code)
    shifts_clock = "CLOCK_SHIFT_FILE" in environment
    runtime_client = ("-P", str(SHIFTED_CLOCK)) if shifts_clock else ("-m", "awslambdaric")
    required = {*IMAGE_PACKAGES, "time-machine"} if shifts_clock else set(IMAGE_PACKAGES)
    for unit in (function.code, *function.layers):
        required |= _requirements(unit / "requirements.txt")
    packages.mkdir(parents=True, exist_ok=True)
    for stale in packages.iterdir():
        if stale.is_symlink():
            stale.unlink()
    for name in sorted(required):
        for entry in _installed_entries(name):
            _link(packages / entry.name, entry)
    paths = [task_root, *function.layers, packages]
    group = f"/aws/lambda/{function.full_name}"
    return Blueprint(
        function=function,
        command=(sys.executable, "-S", *runtime_client, function.handler),
        environment={
            "_HANDLER": function.handler,
            "_X_AMZN_TRACE_ID": "Root=1-00000000-000000000000000000000000;Parent=0000000000000000;Sampled=0",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "AWS_LAMBDA_FUNCTION_NAME": function.full_name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": group,
            "AWS_LAMBDA_LOG_STREAM_NAME": "local",
            "AWS_REGION": REGION,
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_SESSION_TOKEN": "local",
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "LAMBDA_TASK_ROOT": str(task_root),
            "LANG": "en_US.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": ":".join(str(path) for path in paths),
            "TZ": ":UTC",
            **environment,
        },
        task_root=task_root,
    )


def _requirements(file: Path) -> set[str]:
    """The packages that an exported requirements file pins; those that a marker rules out here are left out."""
    names: set[str] = set()
    for line in file.read_text().splitlines() if file.exists() else ():
        match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line)
        if match is None:
            continue
        try:
            distribution(match[0])
        except PackageNotFoundError:
            if ";" in line:
                continue
            raise PackageMissing(f"{file}: {match[0]} is not installed") from None
        names.add(match[0])
    return names


@cache
def _installed_entries(name: str) -> tuple[Path, ...]:
    """The files and folders that a distribution puts directly into site-packages."""
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        raise PackageMissing(f"{name} is not installed") from None
    tops = {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}
    return tuple(Path(str(installed.locate_file(top))) for top in sorted(tops))


def _link(link: Path, target: Path) -> None:
    if link.is_symlink():
        if link.readlink() == target:
            return
        link.unlink()
    link.symlink_to(target)
