"""Versions go with their files, or stay with a reason, whatever interrupts their removal."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipeline.core.errors import UserError
from pipeline.registry import logged_model, registry, removal
from pipeline.registry.aliases import promote
from pipeline.serving.model_interface import model_interface
from pipeline.tracking.tracker import Tracker, existing_client, versions_of
from tests.unit.serving.test_server import tiny
from tests.workspaces import copy_workspace


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("versions") / "workspace"
    for number in "12":
        folder = workspace / "generator"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        tiny().save(folder)
        run_id = Tracker(workspace, "experiment").start("a", {})
        tags = {"bngan.fingerprint": number}
        package = logged_model.ModelPackage(
            {"generator": folder}, tags, "# a", {"fid": 1.0}, ("data", "0" * 64), model_interface()
        )
        assert registry.register(workspace, run_id, "gan", package, print) == number
    return workspace


@pytest.fixture
def workspace(two_versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return copy_workspace(two_versions, tmp_path / "workspace")


def numbers(workspace: Path) -> list[str]:
    return sorted(str(v.version) for v in versions_of(existing_client(workspace), "gan"))


def files(workspace: Path) -> list[Path]:
    return sorted((workspace / "artifacts" / "models").rglob("generator.safetensors"))


def first(workspace: Path) -> tuple[MlflowClient, Any]:
    client = existing_client(workspace)
    return client, client.get_model_version("gan", "1")


def test_a_version_goes_with_its_files_and_no_other(workspace: Path) -> None:
    client, version = first(workspace)
    model = removal.removable_files(workspace, client, version)
    folder = Path(model.artifact_location.removeprefix("file://"))
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert removal.version_bytes(workspace, model) == size
    removal.remove_version(workspace, "gan", "1", print)
    assert (numbers(workspace), len(files(workspace)), folder.exists()) == (["2"], 1, False)
    assert not any(k.startswith("bngan.rem") for k in client.get_registered_model("gan").tags)
    with registry.open_generator(workspace, "models:/gan/2"):
        pass


def test_a_version_that_got_an_alias_meanwhile_stays(workspace: Path) -> None:
    existing_client(workspace).set_registered_model_alias("gan", "mine", "1")
    with pytest.raises(UserError, match=r"^models:/gan/1 is mine now$"):
        removal.remove_version(workspace, "gan", "1", print)
    assert (numbers(workspace), len(files(workspace))) == (["1", "2"], 2)


@pytest.mark.parametrize("step", ["delete_model_version", "delete_files", "delete_logged_model"])
def test_a_removal_that_is_killed_is_completed(
    workspace: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(removal if step == "delete_files" else MlflowClient, step, killed)
        with pytest.raises(KeyboardInterrupt):
            removal.remove_version(workspace, "gan", "1", print)
    assert removal.complete_removals(workspace, print) == []
    assert (numbers(workspace), len(files(workspace))) == (["2"], 1)
    assert removal.complete_removals(workspace, print) == []


def test_a_version_that_is_promoted_after_the_kill_stays(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "delete_model_version", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            removal.remove_version(workspace, "gan", "1", print)
    promote(workspace, "gan", "1", print)
    assert removal.complete_removals(workspace, print) == []
    with registry.open_generator(workspace, "models:/gan@champion"):
        pass


def test_files_that_cannot_be_deleted_are_told_until_they_can(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "weights")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refused)
        with pytest.raises(UserError, match="models:/gan/1 is removed, but not its files in file:"):
            removal.remove_version(workspace, "gan", "1", print)
        (told,) = removal.complete_removals(workspace, print)
        assert "Permission denied" in told
    assert (numbers(workspace), len(files(workspace))) == (["2"], 2)
    assert removal.complete_removals(workspace, print) == []
    assert len(files(workspace)) == 1


def test_files_elsewhere_are_nobodys_to_delete(workspace: Path, tmp_path: Path) -> None:
    client, version = first(workspace)
    by_hand = client.create_model_version("gan", (tmp_path / "home").as_uri())
    with pytest.raises(UserError, match="models:/gan/3 has no logged model"):
        removal.removable_files(workspace, client, by_hand)
    same = {"bngan.model_id": str(removal.model_id_of(version))}
    for source, tags in ((version.source, {}), (by_hand.source, same)):
        shared = client.create_model_version("gan", source, tags=tags)
        with pytest.raises(UserError, match="models:/gan/1 shares its files with another"):
            removal.removable_files(workspace, client, version)
        client.delete_model_version("gan", shared.version)
    models = workspace / "artifacts" / "models"
    models.rename(tmp_path / "moved")
    models.symlink_to(tmp_path / "moved")
    with pytest.raises(UserError, match="models:/gan/1 has its files elsewhere: file:"):
        removal.removable_files(workspace, client, version)


def test_a_copy_of_a_workspace_leaves_the_originals_files(workspace: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(workspace, tmp_path / "copy")
    removal.remove_version(copy, "gan", "1", print)
    assert (numbers(copy), len(files(copy))) == (["2"], 1)
    assert (numbers(workspace), len(files(workspace))) == (["1", "2"], 2)


@pytest.mark.parametrize("number", ["1", "7", "one", ""])
def test_a_removal_that_somebody_has_altered_is_dropped(
    workspace: Path, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the logged model of version 2."""
    client = existing_client(workspace)
    model_id = str(removal.model_id_of(client.get_model_version("gan", "2")))
    client.set_registered_model_tag("gan", f"{removal._REMOVING}{number}", model_id)
    assert removal.complete_removals(workspace, print) == []
    assert (numbers(workspace), len(files(workspace))) == (["1", "2"], 2)
    assert client.get_registered_model("gan").tags == {}
    told = "a removal that was interrupted is dropped: it cannot be read\n"
    assert capsys.readouterr().out == f"gan/{number}: {told}"
