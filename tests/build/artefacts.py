"""What `make build` makes of the repository, laid out as Lambda lays it out."""

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
HERE = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
ELSEWHERE = "x86_64" if HERE == "arm64" else "arm64"
LAYER_TYPE = "AWS::Serverless::LayerVersion"
FUNCTION_TYPE = "AWS::Serverless::Function"


@dataclass(frozen=True)
class Built:
    """A built template, and the folder that it stands in."""

    folder: Path
    template: dict[str, Any]

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        """Every resource, by logical id."""
        return self.template["Resources"]

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of every resource of a type, by logical id."""
        return {name: each["Properties"] for name, each in self.resources.items() if each["Type"] == kind}

    def layer(self, logical_id: str) -> Path:
        """What a layer's /opt holds."""
        return (self.folder / self.resources[logical_id]["Properties"]["ContentUri"]).resolve()

    def task_root(self, function: str) -> Path:
        """What a function's /var/task holds."""
        return (self.folder / self.resources[function]["Properties"]["CodeUri"]).resolve()

    def layers_of(self, function: str) -> list[Path]:
        """The folders that together make a function's /opt."""
        return [self.layer(layer["Ref"]) for layer in self.resources[function]["Properties"]["Layers"]]

    def import_path(self, function: str) -> str:
        """PYTHONPATH as the runtime has it, without what the runtime itself brings along."""
        opt = [path / "python" for path in self.layers_of(function)]
        return os.pathsep.join(str(path) for path in [self.task_root(function), *opt])


def sam_build(folder: Path, architecture: str, *resources: str) -> Built:
    """Build the template, or single resources of it, for an architecture; raises AssertionError with sam's words."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "SAM_CLI_TELEMETRY": "0",
        "__SAM_CLI_APP_DIR": str(folder / "settings"),
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = [sys.executable, "-m", "scripts.build", *resources, "--no-cached", "--parallel"]
    command += ["--build-dir", str(folder / "build"), "--parameter-overrides", f"Architecture={architecture}"]
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    built = built_before(folder)
    assert built is not None
    return built


def built_before(folder: Path) -> Built | None:
    """What `sam_build` made in this folder before; the release is written last."""
    file = folder / "build" / "template.yaml"
    template = yaml.safe_load(file.read_text()) if file.exists() else None
    if template is None or release_of(template) == "unreleased":
        return None
    return Built(file.parent, template)


def release_of(template: dict[str, Any]) -> str:
    """The release that a template's functions are told."""
    return template["Globals"]["Function"]["Environment"]["Variables"]["RELEASE"]


def size(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
