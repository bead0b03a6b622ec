"""Nothing is followed out of a workspace, and what cannot be removed is told."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.storage.workspace import Workspace
from pipeline.tracking.tracker import Tracker
from tests.commands import bngan
from tests.unit.storage.conftest import Machine, machine  # noqa: F401


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One output is used, another one and a training are not."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    here = tmp_path / "workspace"
    tracker = Tracker(here, "x")
    tracker.tags(tracker.start("x", {"bngan.kind": "pipeline"}), {"uses.prepare": "used"})
    for name in ("stages/prepare/used", "stages/prepare/unused", "training/x"):
        (here / name).mkdir(parents=True)
        (here / name / "file").write_bytes(b"x" * 1_000_000)
    return here


@pytest.mark.parametrize("linked", ["stages/prepare/unused", "training/x", "training", "stages"])
def test_links_lead_nowhere(workspace: Path, tmp_path: Path, linked: str) -> None:
    (workspace / linked).rename(tmp_path / "elsewhere")
    (workspace / linked).symlink_to(tmp_path / "elsewhere")
    before = sorted((tmp_path / "elsewhere").rglob("*"))
    if linked == "stages":  # then no run refers to what is left
        bngan("gc", "--delete", "--workspace", workspace, code=2)
    else:
        told = bngan("gc", "--delete", "--workspace", workspace).stderr
        assert f"stays: {linked} is a symbolic link" in told
    assert (workspace / linked).is_symlink()
    assert sorted((tmp_path / "elsewhere").rglob("*")) == before


def test_files_that_cannot_be_removed_are_told_again_and_again(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_part(path: Any, **_: Any) -> None:
        (Path(path) / "file").exists()

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", in_part)
        for _ in range(2):
            told = bngan("gc", "--delete", "--workspace", workspace, code=2).stderr
            assert told.count("cannot be removed whole") == 2
            assert "/stages/prepare/.unused.tmp-" in told
    # Killed, or without the right, or whatever it was: the same again finishes it.
    bngan("gc", "--delete", "--workspace", workspace)
    assert [path.name for path in workspace.glob("stages/*/*")] == ["used"]
    assert list(workspace.glob("training/*")) == []


def test_an_output_at_a_uri_loses_what_counts_first(
    machine: Machine,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage: Workspace = machine("a")
    for name in ("training/x/images-1/manifest.json", "training/x/images-1/state"):
        storage.write(name, b"{}")

    class Killed:
        def __getattr__(self, name: str) -> Any:
            return getattr(filesystem, name)

        def delete_dir(self, _: str) -> None:
            raise KeyboardInterrupt

    filesystem = storage._filesystem
    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "_filesystem", Killed())
        with pytest.raises(KeyboardInterrupt):
            storage.unpublish("training/x")
    assert not storage.has("training/x/images-1/manifest.json")
    assert storage.has("training/x/images-1/state")
    storage.unpublish("training/x")
    assert storage.folders("training") == []
