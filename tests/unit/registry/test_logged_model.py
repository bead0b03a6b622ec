"""The library's source code as it travels with a model."""

import shutil
from pathlib import Path

import pytest

import bngan
from pipeline.registry.logged_model import library_code


def test_a_read_only_installation_is_copied_so_that_it_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = shutil.copytree(Path(str(bngan.__file__)).parent, tmp_path / "bngan")
    for path in [installed, *installed.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)  # the tests may run from a read-only checkout
    (installed / "__pycache__").mkdir(exist_ok=True)
    (installed / "__pycache__" / "x.pyc").touch()
    paths = [installed, *installed.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)
    monkeypatch.setattr(bngan, "__file__", str(installed / "__init__.py"))
    with library_code() as code:
        copied = {path.relative_to(code): path for path in code.rglob("*")}
        assert all(path.stat().st_mode & 0o200 for path in [code, *copied.values()])
        originals = {path.relative_to(installed): path for path in installed.rglob("*.py")}
        assert copied.keys() >= originals.keys()
        assert all(copied[name].read_bytes() == originals[name].read_bytes() for name in originals)
        assert not any("__pycache__" in name.parts for name in copied)
    for path in paths:
        path.chmod(path.stat().st_mode | 0o200)
