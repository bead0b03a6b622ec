"""The MLflow store, used by several processes."""

import os
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.tracking.server import reason
from pipeline.tracking.tracker import Tracker
from tests.processes import two_at_once


def test_a_new_database_may_be_made_by_two(tmp_path: Path) -> None:
    code = "import sys, pathlib; from pipeline.tracking.tracker import Tracker as T; input(); "
    code += "print(T(pathlib.Path(sys.argv[1]), 'x').experiment_id)"
    told = two_at_once(code, str(tmp_path / "new"))
    assert told[0][0] == told[1][0]


def test_an_experiment_that_another_machine_makes_meanwhile_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Tracker(tmp_path, "x").experiment_id
    found = mlflow.MlflowClient.get_experiment_by_name
    answers = iter([lambda *_: None])

    def at_first_none(self: Any, name: str) -> Any:
        return next(answers, found)(self, name)

    monkeypatch.setattr(mlflow.MlflowClient, "get_experiment_by_name", at_first_none)
    assert Tracker(tmp_path, "x").experiment_id == expected
    monkeypatch.setattr(mlflow.MlflowClient, "get_experiment_by_name", lambda *_: None)
    with pytest.raises(Exception, match="already exists") as caught:
        Tracker(tmp_path, "x")
    assert isinstance(caught.value.__cause__, MlflowException)


@pytest.mark.usefixtures("planted_secrets")
def test_what_mlflow_is_told_and_says_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker, told = Tracker(tmp_path, "x"), "http://me:PLANTED@h hf_PLANTED mlflow-PLANTED"
    run = tracker.start("x", {"first": told})
    tracker.tags(run, {"second": told})
    tracker.params(run, {"data.path": told})
    tracker.dataset(run, told, "0" * 64, "train")
    tracker.artifact(run, "config.yaml", told.encode())
    tracker.artifact(run, "x.png", b"\x89PNG\xff")
    client = MlflowClient(tracker.uri)
    path = client.download_artifacts(run, "config.yaml", str(tmp_path))
    assert Path(path).read_text() == "http://h *** ***"
    picture = client.download_artifacts(run, "x.png", str(tmp_path))
    assert Path(picture).read_bytes() == b"\x89PNG\xff"
    assert client.get_run(run).data.params == {"data.path": "http://h *** ***"}
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 3
    assert not [file for file in files if b"PLANTED" in file.read_bytes()]
    assert reason(MlflowException(f"no answer of {told}")) == "no answer of http://h *** ***"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.usefixtures("planted_secrets")
def test_a_workspace_is_for_its_owner_unless_somebody_made_it_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before = os.umask(0o022)
    try:
        Tracker(tmp_path / "mine" / "runs", "x")
        assert mode(tmp_path / "mine" / "runs") == 0o700
        (tmp_path / "ours").mkdir()
        (tmp_path / "ours").chmod(0o770)
        Tracker(tmp_path / "ours", "x")
        assert mode(tmp_path / "ours") == 0o770
    finally:
        os.umask(before)
