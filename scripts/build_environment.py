"""Build .venv from uv.lock with nothing but the standard library, pip and the package index."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
INTERPRETER = ENVIRONMENT / "bin" / "python"
# Stands while packages are being written: a build that was interrupted is not trusted again.
UNFINISHED = ENVIRONMENT / ".unfinished"

CERTIFICATE_STORES = ("/etc/ssl/certs", "/etc/pki/tls/certs", "/System/Library/Keychains")

CHECKOV = ENVIRONMENT / "checkov"

LOCAL_GROUPS = ("shared-layer", "postgres-layer", "stripe-layer", "local")
GROUPS = {"local": LOCAL_GROUPS, "all": (*LOCAL_GROUPS, "test", "lint", "bench")}


def say(what: str) -> None:
    """Print one line of progress; the caller points standard output at the terminal's error stream."""
    print(f"env: {what}", flush=True)


def pinned_uv() -> str:
    """Return uv's requirement, from the one place that pins it: pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    version: str = settings["tool"]["uv"]["required-version"]
    return f"uv{version}"


def is_sound() -> bool:
    """Tell whether the environment that stands there may be kept and brought up to date."""
    if UNFINISHED.exists() or not INTERPRETER.exists():
        return False
    probe = "import sys, pip; print(sys.version_info[:2] == (3, 13) and sys.prefix)"
    answer = subprocess.run([INTERPRETER, "-c", probe], capture_output=True, text=True, check=False)
    return answer.returncode == 0 and answer.stdout.strip() == str(ENVIRONMENT)


def create() -> None:
    """Replace whatever stands at .venv by an empty environment of this interpreter."""
    if ENVIRONMENT.exists():
        shutil.rmtree(ENVIRONMENT)
    say(f"creating .venv with {sys.executable}")
    ENVIRONMENT.mkdir()
    UNFINISHED.touch()
    venv.EnvBuilder(with_pip=True, symlinks=True).create(ENVIRONMENT)


def pip_settings() -> dict[str, str]:
    """Return what pip was told on this machine, by file or environment, by the option's name."""
    command = [INTERPRETER, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.findall(r"^(global|install|user|:env:)\.([a-z-]+)='(.*)'$", listed, re.MULTILINE)
    # The environment goes before the files, as pip itself has it.
    return {option: value for _, option, value in sorted(found, key=lambda each: each[0] == ":env:")}


def package_settings() -> dict[str, str]:
    """Return the process environment with the machine's package index and certificates, whoever was told of them."""
    settings, told = dict(os.environ), pip_settings()
    index = settings.get("UV_DEFAULT_INDEX") or settings.get("UV_INDEX_URL") or told.get("index-url")
    if index:
        settings["UV_DEFAULT_INDEX"] = index
        settings.pop("UV_INDEX_URL", None)
    if "cert" in told:
        settings.setdefault("SSL_CERT_FILE", told["cert"])
    elif any(any(Path(store).glob("*")) for store in CERTIFICATE_STORES):
        settings.setdefault("UV_SYSTEM_CERTS", "true")  # as pip does; uv's own roots know no company's proxy
    home = settings.get("XDG_CACHE_HOME") or settings.get("HOME") or "/"
    if "UV_CACHE_DIR" not in settings and not os.access(home, os.W_OK):
        # `su` and containers may leave HOME at a folder of somebody else's.
        settings["UV_CACHE_DIR"] = str(ENVIRONMENT / ".cache")
        settings["PIP_NO_CACHE_DIR"] = "1"
    settings["UV_PYTHON_DOWNLOADS"] = "never"
    return settings


def install_uv(settings: dict[str, str]) -> None:
    """Install the pinned uv, with pip, unless it is there."""
    requirement = pinned_uv()
    probe = "import importlib.metadata as m; print('uv==' + m.version('uv'))"
    there = subprocess.run([INTERPRETER, "-c", probe], capture_output=True, text=True, check=False)
    if there.stdout.strip() == requirement:
        return
    say(f"installing {requirement}")
    command = [INTERPRETER, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
    subprocess.run(command, env=settings, check=True)


def install_packages(wanted: Sequence[str], settings: dict[str, str], *, into: Path = ENVIRONMENT) -> None:
    """Install exactly what uv.lock says for these groups; hashes are checked either way."""
    uv = [str(INTERPRETER), "-m", "uv"]
    interpreter = into / "bin" / "python"
    if not interpreter.exists():
        subprocess.run(
            [*uv, "venv", "--quiet", f"--python={INTERPRETER}", str(into)], env=settings, check=True
        )
    groups = [f"--group={group}" for group in wanted]
    # The larger set may be in use by a test run while a demo is started: never take packages away from it.
    exactness = ["--inexact"] if wanted == LOCAL_GROUPS else []
    say(f"installing the packages of uv.lock ({', '.join(wanted)})")
    if "UV_DEFAULT_INDEX" not in settings:
        sync = [*uv, "sync", "--frozen", "--quiet", *exactness, *groups]
        subprocess.run(sync, env=settings | {"UV_PROJECT_ENVIRONMENT": str(into)}, cwd=ROOT, check=True)
        return
    # uv.lock names files at the ordinary index; a machine that has a mirror asks the mirror for them.
    requirements = ENVIRONMENT / ".requirements.txt"
    export = [*uv, "export", "--frozen", "--quiet", "--no-emit-project", *groups, "-o", str(requirements)]
    subprocess.run(export, env=settings, cwd=ROOT, check=True)
    install = [*uv, "pip", "install", "--quiet", "--require-hashes", f"--python={interpreter}"]
    subprocess.run([*install, "-r", str(requirements)], env=settings, cwd=ROOT, check=True)


def main(wanted: str, stamp: str) -> None:
    """Build the environment, or mend it, and leave the stamp that makes the next call free."""
    started = time.monotonic()
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamps = [ENVIRONMENT / f".made-{made}" for made in {"all", wanted}]
        if any(made.exists() and made.read_text() == stamp for made in stamps):
            return  # another `make` was faster
        if not is_sound():
            create()
        UNFINISHED.touch()
        settings = package_settings()
        install_uv(settings)
        install_packages(GROUPS[wanted], settings)
        if wanted == "all":
            install_packages(["checkov"], settings, into=CHECKOV)
        for made in ENVIRONMENT.glob(".made-*"):
            made.unlink()
        (ENVIRONMENT / f".made-{wanted}").write_text(stamp)
        UNFINISHED.unlink()
    say(f"ready after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except subprocess.CalledProcessError as failed:
        say(f"failed: {' '.join(str(part) for part in failed.cmd)} (exit status {failed.returncode})")
        sys.exit(1)
