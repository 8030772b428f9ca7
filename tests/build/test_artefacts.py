"""What `make build` makes can be imported in Lambda, with nothing that the layers do not carry."""

import copy
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.build.artefacts import (
    ELSEWHERE,
    FUNCTION_TYPE,
    LAYER_TYPE,
    ROOT,
    Built,
    release_of,
    sam_build,
    size,
)

pytestmark = pytest.mark.build

FUNCTIONS = {
    "".join(part.title() for part in folder.parent.name.split("_")) + "Function"
    for folder in (ROOT / "functions").glob("*/handler.py")
}
MB = 1024 * 1024
LAMBDA_LIMIT = 250 * MB
# PEP 552: the flags of a compiled module that is found by its source's hash, which nobody checks.
UNCHECKED_HASH = 0b01

# Runs in a clean interpreter: imports a handler as the runtime client does, then says which settings the function's
# own modules ask for, and which files the modules came from.
IMPORTS = """
import importlib, json, sys
module, _, name = sys.argv[1].rpartition(".")
handler = getattr(importlib.import_module(module), name)
asking = (module.rpartition(".")[0] + ".", "runtime.auth")
own = [m for n, m in list(sys.modules.items()) if n.startswith(asking)]
models = [v for m in own for v in vars(m).values() if isinstance(v, type) and hasattr(v, "model_fields")]
from runtime.settings import Settings
needed = {f.upper() for v in models if issubclass(v, Settings) for f, i in v.model_fields.items() if i.is_required()}
known = {f.upper() for v in models if issubclass(v, Settings) for f in v.model_fields}
files = sorted({m.__file__ for m in sys.modules.values() if getattr(m, "__file__", None)})
print(json.dumps({"callable": callable(handler), "needed": sorted(needed), "known": sorted(known), "files": files}))
"""


def imported(built: Built, function: str) -> subprocess.CompletedProcess[str]:
    """Import a function's handler with its artefacts alone on the path: -S leaves this environment's packages out."""
    handler = built.resources[function]["Properties"]["Handler"]
    return subprocess.run(
        [sys.executable, "-S", "-c", IMPORTS, handler],
        cwd="/",
        env={"PYTHONPATH": built.import_path(function), "LAMBDA_TASK_ROOT": str(built.task_root(function))},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_folder_of_functions_is_a_function_of_the_template(built: Built) -> None:
    assert set(built.of_type(FUNCTION_TYPE)) == FUNCTIONS


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_a_handler_is_imported_from_its_artefacts_alone(built: Built, function: str) -> None:
    answer = imported(built, function)
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    assert told["callable"]
    standard_library = f"{sys.base_prefix}/lib/"
    ours = (str(built.folder), standard_library)
    assert [file for file in told["files"] if not file.startswith(ours)] == []


def test_an_import_that_no_layer_carries_is_noticed(built: Built, tmp_path: Path) -> None:
    function = "HealthFunction"
    template = copy.deepcopy(built.template)
    template["Resources"][function]["Properties"]["Layers"] = [{"Ref": "SharedLayer"}]
    answer = imported(Built(built.folder, template), function)
    assert answer.returncode != 0
    assert "No module named 'database'" in answer.stderr


# What a function is told that no settings model reads: the logger, the metrics and Sentry read it themselves.
FOR_OBSERVABILITY = {"LOG_LEVEL", "SENTRY_DSN", "POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE"}
# Read by a shared model, and not for everybody: RATE_LIMITS is the machine-sized cloud's, and deliver-outbox kicks
# nobody.
NOT_GIVEN = {"RATE_LIMITS", "DELIVER_OUTBOX_FUNCTION"}


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_the_template_gives_a_function_the_settings_that_it_reads_and_no_others(
    built: Built, function: str
) -> None:
    known = set(json.loads(imported(built, function).stdout)["known"])
    functions = [built.template["Globals"]["Function"], built.resources[function]["Properties"]]
    given = {name.removesuffix("_ARN") for each in functions for name in each["Environment"]["Variables"]}
    assert given - FOR_OBSERVABILITY <= known
    assert known - NOT_GIVEN <= given


def test_every_module_comes_compiled_in_the_form_that_no_time_stamp_can_spoil(built: Built) -> None:
    modules = [file for file in built.folder.rglob("*.py") if "__pycache__" not in file.parts]
    assert len(modules) > 500
    for module in modules:
        compiled = module.parent / "__pycache__" / f"{module.stem}.cpython-313.pyc"
        flags = int.from_bytes(compiled.read_bytes()[4:8], "little")
        assert flags == UNCHECKED_HASH, module


def test_python_runs_the_compiled_form_without_a_look_at_the_source(built: Built, tmp_path: Path) -> None:
    shutil.copytree(built.folder / "HealthFunction", tmp_path / "HealthFunction")
    copied = Built(tmp_path, built.template)
    package = copied.task_root("HealthFunction") / "functions/health"
    for module in package.glob("*.py"):
        module.write_text("raise SystemExit('compiled again')")
    template = copy.deepcopy(built.template)
    template["Resources"]["HealthFunction"]["Properties"]["CodeUri"] = str(package.parent.parent)
    moved = Built(built.folder, template)
    assert imported(moved, "HealthFunction").returncode == 0
    shutil.rmtree(package / "__pycache__")
    assert "compiled again" in imported(moved, "HealthFunction").stderr


def test_a_build_has_a_name_of_its_own_by_which_every_function_publishes_a_version(built: Built) -> None:
    assert re.fullmatch(r"\S+-\d{8}T\d{6}Z", release_of(built.template))


def test_artefacts_are_far_under_what_lambda_takes(built: Built) -> None:
    sizes = {
        name: size(built.task_root(name)) + sum(size(layer) for layer in built.layers_of(name))
        for name in FUNCTIONS
    }
    print({name: f"{bytes_ / MB:.0f} MB" for name, bytes_ in sizes.items()})
    assert max(sizes.values()) < LAMBDA_LIMIT / 2


def test_migrations_stand_where_migrate_is_told_to_look(built: Built) -> None:
    function = built.resources["MigrateFunction"]["Properties"]
    opt = Path("/opt")
    inside = Path(function["Environment"]["Variables"]["MIGRATIONS_DIR"]).relative_to(opt)
    found = [
        layer / inside
        for layer in built.layers_of("MigrateFunction")
        if any((layer / inside).glob("0001_*.sql"))
    ]
    assert len(found) == 1
    here = sorted(path.relative_to(ROOT / "migrations") for path in (ROOT / "migrations").rglob("*.sql"))
    assert sorted(path.relative_to(found[0]) for path in found[0].rglob("*.sql")) == here


def test_layers_are_built_for_the_other_architecture_too(tmp_path: Path) -> None:
    machine = {"arm64": "aarch64", "x86_64": "x86_64"}
    built = sam_build(tmp_path, ELSEWHERE, "PostgresLayer")
    compiled = [file.name for file in built.layer("PostgresLayer").rglob("*.cpython-313-*.so")]
    assert compiled
    assert all(machine[ELSEWHERE] in name for name in compiled)


def test_every_layer_names_its_packages_by_version_and_hash(built: Built) -> None:
    for name, layer in built.of_type(LAYER_TYPE).items():
        requirements = built.folder / layer["ContentUri"] / "python" / "requirements.txt"
        if not requirements.exists():
            assert name == "MigrationsLayer"
            continue
        pins = [line for line in requirements.read_text().splitlines() if re.match(r"[a-z]", line)]
        assert pins
        assert all(re.match(r"[a-z0-9-]+==\S+( ;[^\\]*)? \\$", pin) for pin in pins), pins
