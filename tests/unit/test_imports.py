"""Who may import whom: the layers of the repository, held by reading every file."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

RUNTIME_MAY = {
    "domain",
    "aws_lambda_powertools",
    "pydantic",
    "pydantic_core",
    "sentry_sdk",
    "snapshot_restore_py",
    "boto3",
    "jwt",
    "botocore",
}
# A package's folder -> what its files may import, beside themselves and the standard library.
PACKAGES = {
    "domain": ("shared/domain", set[str]()),
    "database": ("layers/postgres/database", {"domain", "psycopg"}),
    "stripe_gateway": ("layers/stripe/stripe_gateway", {"domain", "stripe", "requests"}),
    "runtime": ("shared/runtime", RUNTIME_MAY),
    "payments": ("shared/payments", {"domain", "database", "stripe_gateway", "runtime"}),
}
FOR_FUNCTIONS = {*PACKAGES, "aws_lambda_powertools", "psycopg", "pydantic", "requests"}
# These may import anything, and nothing that is deployed may import them.
OUTSIDE = {"local", "tests", "bench", "scripts"}
# What only a make target or a test starts: whatever another has use for as well stands beside them, in a room of its own.
PROGRAMS = {f"local.{name}" for name in ("demo", "chaos", "load", "fuzz", "simulation")}


def imported_modules(source: str, package: str) -> set[str]:
    """Every module that a file imports, anywhere in it, relative imports resolved against its package."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found |= {f"{module}.{alias.name}" for alias in node.names}
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in {"__import__", "import_module", "importlib.import_module"}
            and isinstance(node.args[0], ast.Constant)
        ):
            found.add(str(node.args[0].value))
    return found


def violations(source: str, package: str) -> set[str]:
    """The imports of a file in `package` (dotted) that the rule forbids."""
    parts = package.split(".")
    forbidden: set[str] = set()
    for module in imported_modules(source, package):
        top, *rest = module.split(".")
        if parts[0] == "functions":
            same_function = top == "functions" and rest[:1] == parts[1:2]
            allowed = same_function or top in FOR_FUNCTIONS
        else:
            allowed = top == parts[0] or top in PACKAGES[parts[0]][1]
        if not allowed and top not in sys.stdlib_module_names:
            forbidden.add(module)
    return forbidden


def deployed_files() -> list[tuple[Path, str]]:
    """Every Python file that is deployed, with the dotted name of the package that it stands in."""
    roots = [(ROOT / folder, ROOT / folder) for folder, _ in PACKAGES.values()]
    roots = [(folder, folder.parent) for folder, _ in roots] + [(ROOT / "functions", ROOT)]
    return [
        (file, ".".join(file.parent.relative_to(base).parts))
        for folder, base in roots
        for file in sorted(folder.rglob("*.py"))
    ]


def test_every_deployed_file_imports_only_what_its_place_allows() -> None:
    files = deployed_files()
    assert {package.split(".")[0] for _, package in files} == {*PACKAGES, "functions"}
    found = {
        str(file.relative_to(ROOT)): forbidden
        for file, package in files
        if (forbidden := violations(file.read_text(), package))
    }
    assert not found


def test_there_is_no_deployed_file_that_the_rule_does_not_know() -> None:
    known = {file for file, _ in deployed_files()}
    present = {file for folder in ("functions", "shared", "layers") for file in (ROOT / folder).rglob("*.py")}
    assert present == known


def test_nothing_but_a_program_itself_imports_from_it() -> None:
    files = [file for folder in OUTSIDE - {"tests"} for file in sorted((ROOT / folder).rglob("*.py"))]
    homes = {file: ".".join(file.parent.relative_to(ROOT).parts) for file in files}
    assert set(homes.values()) > PROGRAMS
    found = {
        (str(file.relative_to(ROOT)), module)
        for file, home in homes.items()
        for module in imported_modules(file.read_text(), home)
        if (program := ".".join(module.split(".")[:2])) in PROGRAMS and program != home
    }
    assert not found


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("domain", "import psycopg"),
        ("domain", "from database.connection import Database"),
        ("domain", "def late():\n    import pydantic"),
        ("database", "import stripe"),
        ("database", "from runtime.observability import logger"),
        ("stripe_gateway", "import psycopg"),
        ("runtime", "from database import connection"),
        ("payments", "from functions.reservations.service import hold"),
        ("runtime", "from payments import closing"),
        ("payments", "import stripe"),
        ("functions.reservations", "from functions.health.service import readiness"),
        ("functions.reservations", "from functions import health"),
        ("functions.reservations", "from ..health import service"),
        ("functions.reservations", "import stripe"),
        ("functions.reservations", "import importlib\nimportlib.import_module('functions.health.handler')"),
        *(
            (package, f"import {outside}.anything")
            for package in ("runtime", "functions.health")
            for outside in OUTSIDE
        ),
    ],
)
def test_a_forbidden_import_is_found(package: str, source: str) -> None:
    assert violations(source, package)


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("domain", "import decimal\nfrom domain.refusals import Refusal\nfrom . import errors"),
        ("database", "import psycopg.rows\nfrom domain import errors"),
        ("functions.reservations", "from functions.reservations import service\nfrom . import requests"),
        (
            "functions.reservations",
            "from payments.closing import close\nfrom runtime.http import HttpFunction",
        ),
    ],
)
def test_an_allowed_import_is_let_through(package: str, source: str) -> None:
    assert not violations(source, package)
