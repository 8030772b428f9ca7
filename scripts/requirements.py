"""The layers' requirements.txt, exported from uv.lock: `write` renews lock and exports, `check` tells what is stale.

SAM reads no pyproject.toml: each layer carries the pins and hashes of its own dependency group.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = [sys.executable, "-m", "uv"]
# The group that a layer's folder carries.
LAYERS = {"shared": "shared-layer", "layers/postgres": "postgres-layer", "layers/stripe": "stripe-layer"}
HEADER = "# Exported from uv.lock by `make lock`; change pyproject.toml instead. Group: {group}\n"


def exported(group: str) -> str:
    """Return what uv.lock says a layer has to install, every file's hash included."""
    command = [*UV, "export", "--frozen", "--quiet", "--offline", "--only-group", group]
    command += ["--no-emit-project", "--no-header", "--no-annotate"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return HEADER.format(group=group) + answer.stdout


def stale() -> list[str]:
    """Name the files that uv.lock has left behind, uv.lock itself included; empty when all are current."""
    found = [
        f"{folder}/requirements.txt"
        for folder, group in LAYERS.items()
        if not (file := ROOT / folder / "requirements.txt").exists() or file.read_text() != exported(group)
    ]
    lock = subprocess.run(
        [*UV, "lock", "--check", "--offline", "--python", sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return [*found, "uv.lock"] if lock.returncode else found


def write() -> None:
    """Bring uv.lock to what pyproject.toml says, and the exports to what uv.lock says."""
    # No index of this machine's may end up in the lock: it is everybody's.
    subprocess.run([*UV, "lock", "--default-index", "https://pypi.org/simple"], cwd=ROOT, check=True)
    for folder, group in LAYERS.items():
        (ROOT / folder / "requirements.txt").write_text(exported(group))


def main(command: str) -> int:
    """Carry out `write` or `check`; the exit status."""
    if command == "write":
        write()
        return 0
    behind = stale()
    for file in behind:
        print(f"{file} is not what pyproject.toml and uv.lock say: run `make lock`")
    return 1 if behind else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
