"""`make build`: what `sam build` makes, compiled and named, ready for `sam deploy`. Arguments go to `sam build`.

Lambda's file system cannot be written to, so a module that comes without its compiled form is compiled at every cold
start. The compiled forms are marked as unchecked (PEP 552): their source never changes beside them, and its time stamp,
which zip files round, would not hold.
"""

import argparse
import compileall
import os
import py_compile
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_FOLDER = ROOT / ".aws-sam" / "build"
# What template.yaml says in its Globals.
UNNAMED = "RELEASE: unreleased"


def release() -> str:
    """Return the name of what is being built: the commit, and the time, because settings change between commits too."""
    describe = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    return f"{commit or 'unversioned'}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"


def compile_modules(folder: Path) -> None:
    """Put the compiled form of every module below a build folder beside it; raises RuntimeError where one has none.

    Whatever was compiled there before is replaced.
    """
    compiled = compileall.compile_dir(
        folder,
        quiet=1,
        force=True,
        workers=0,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    if not compiled:
        raise RuntimeError(f"not every module below {folder} could be compiled")


def name_release(template: Path, name: str) -> None:
    """Write the release into a built template, whose functions then publish a version each.

    SAM publishes one where the template's text has changed, and a parameter's value is no part of that text: a deploy
    that changes a setting alone would leave the alias at the version with the old setting.
    """
    text = template.read_text()
    if text.count(UNNAMED) != 1:
        raise RuntimeError(f"{template} does not say '{UNNAMED}' once")
    template.write_text(text.replace(UNNAMED, f"RELEASE: {name}"))


def main(arguments: list[str]) -> int:
    """Build, compile, name; the exit status is that of `sam build`."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--build-dir", type=Path, default=DEFAULT_FOLDER)
    folder: Path = parser.parse_known_args(arguments)[0].build_dir
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    }
    sam = subprocess.run(
        [sys.executable, "-m", "samcli", "build", *arguments], cwd=ROOT, env=environment, check=False
    )
    if sam.returncode == 0:
        compile_modules(folder)
        name = release()
        name_release(folder / "template.yaml", name)
        print(f"built {name}")
    return sam.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
