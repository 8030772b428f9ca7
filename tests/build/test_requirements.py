"""The layers install what uv.lock says, and a stale export is noticed."""

import shutil
from pathlib import Path

import pytest

from scripts import requirements

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the exports are made from, which a test may spoil."""
    for file in (
        "pyproject.toml",
        "uv.lock",
        *(f"{layer}/requirements.txt" for layer in requirements.LAYERS),
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    monkeypatch.setattr(requirements, "ROOT", tmp_path)
    return tmp_path


def test_every_export_is_current() -> None:
    assert requirements.stale() == []


def test_a_stale_export_is_noticed(checkout: Path) -> None:
    file = checkout / "layers/stripe/requirements.txt"
    file.write_text(file.read_text().replace("stripe==", "stripe==1"))
    assert requirements.stale() == ["layers/stripe/requirements.txt"]


def test_a_stale_lock_is_noticed(checkout: Path) -> None:
    file = checkout / "pyproject.toml"
    file.write_text(file.read_text().replace('"stripe==', '"stripe==1'))
    assert "uv.lock" in requirements.stale()


def test_the_lock_names_the_public_index_only() -> None:
    lock = (ROOT / "uv.lock").read_text()
    assert "https://pypi.org/simple" in lock
    assert "file://" not in lock
    hosts = {part.split("/")[0] for part in lock.split("https://")[1:]}
    assert hosts == {"pypi.org", "files.pythonhosted.org"}
