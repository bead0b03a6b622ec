"""A workspace that was copied or moved goes on at its new place, and leaves the original alone."""

import os
import shutil
from pathlib import Path

import mlflow
import pytest

from pipeline.tracking.relocation import BACKUP
from tests.commands import DIGITS, bngan
from tests.databases import DATABASE
from tests.integration.conftest import TINY, Trained, run, statuses

CHAMPION = "models:/bngan-digits@champion"
ALL_CACHED = "cached cached cached cached cached"
MOVED = "was copied or moved from"


def state(workspace: Path) -> dict[str, tuple[int, int]]:
    """Time and size of every file and folder; a lock that is taken changes neither."""
    found = {}
    for path in workspace.rglob("*"):
        facts = path.lstat()
        found[str(path)] = (facts.st_mtime_ns, facts.st_size)
    return found


def copy_of(trained: Trained, folder: Path) -> Path:
    """Copy a workspace as ``cp -a`` does."""
    return Path(shutil.copytree(trained.workspace, folder / "copy"))


@pytest.mark.parametrize("moved", [False, True], ids=["copied", "moved, the original gone"])
def test_every_command_works_at_the_new_place(
    moved: bool, original: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(original.workspace)
    workspace = copy_of(original, tmp_path)
    if moved:
        bngan("models", "--workspace", workspace)
        workspace = workspace.rename(tmp_path / "moved")
    first = bngan("run", DIGITS, f"workspace={workspace}", *TINY, "--json")
    assert first.stderr.count(MOVED) == 1
    assert (workspace / BACKUP).is_file()
    for command in (
        ("status",),
        ("models",),
        ("gc", "--keep", 1, "--delete"),
        ("sample", CHAMPION, "--count", 1, "-o", tmp_path / "one.png"),
        ("compare", CHAMPION, "models:/bngan-digits/1", "--protocol", "fid100_test"),
        ("seen", tmp_path / "one.png"),
        ("promote", "bngan-digits", 1),
    ):
        said = bngan(*command, "--workspace", workspace)
        assert MOVED not in said.stderr
        assert "elsewhere" not in said.stderr
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    mlflow.set_tracking_uri(f"sqlite:///{workspace / DATABASE}")
    try:
        mlflow.pyfunc.load_model("models:/bngan-digits/1")
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    assert statuses(run(workspace)) == ALL_CACHED
    assert state(original.workspace) == before


def test_gc_is_not_in_its_own_way(original: Trained, tmp_path: Path) -> None:
    said = bngan("gc", "--keep", 1, "--delete", "--workspace", copy_of(original, tmp_path))
    assert said.stderr.count(MOVED) == 1


@pytest.mark.full
def test_a_copy_trains_on(original: Trained, tmp_path: Path) -> None:
    before = state(original.workspace)
    workspace = copy_of(original, tmp_path)
    result = run(workspace, "train.images=12000")
    assert statuses(result) == "cached cached ran ran ran"
    assert result["model"]["version"] == "2"
    assert state(original.workspace) == before
    gone = workspace.rename(tmp_path / "elsewhere")
    assert statuses(run(gone, "train.images=12000")) == ALL_CACHED
    assert not os.path.exists(workspace)
