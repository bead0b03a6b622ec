"""What several processes do at once in one workspace, and what a study leaves open there."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from pipeline.core.errors import RetryableError
from pipeline.core.lock import OWNER, exclusive_lock, parse_attempt
from pipeline.registry import registry
from pipeline.storage.workspace import Workspace
from pipeline.studies.design import Study
from pipeline.studies.run import run_study
from pipeline.tracking import runs
from pipeline.tracking.runs import heartbeat
from pipeline.tracking.tracker import Tracker


def test_a_new_database_may_be_made_by_two(tmp_path: Path) -> None:
    code = "import sys, pathlib; from pipeline.tracking.tracker import Tracker as T; input(); "
    code += "print(T(pathlib.Path(sys.argv[1]), 'x').experiment_id)"
    command = [sys.executable, "-c", code, str(tmp_path / "new")]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    both = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
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


def test_a_study_that_died_with_a_trials_run_open_is_told_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker(tmp_path, "study")
    study = tracker.start("study", {"bngan.kind": "study"})
    trial = tracker.start("a 0", {"task": "ring8", "arm": "a"}, study)
    with heartbeat(tracker, study):
        pass
    (alive,) = runs.states(tmp_path)
    assert (alive.state, alive.stages) == ("running", {})
    dead = json.dumps(
        {**json.loads(tracker.client.get_run(study).data.tags[runs._PROCESS]), "pid": 2**22 + 1}
    )
    tracker.tags(study, {runs._PROCESS: dead})
    assert [state.run_id for state in runs.reap(tmp_path)] == [study]
    for run_id in (study, trial):
        assert tracker.client.get_run(run_id).info.status == "KILLED"


def test_a_study_is_one_processs_at_a_time(tmp_path: Path) -> None:
    study = Study("s", ["ring8"], {"a": []}, "a", seeds=1, workspace=str(tmp_path))
    with (
        exclusive_lock(tmp_path / "locks" / "study-s", "study s"),
        pytest.raises(RetryableError, match="study s is"),
    ):
        run_study(study, display=None)  # type: ignore[arg-type]


def test_models_go_to_the_one_store_whatever_the_registrys_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for given in ("sqlite:////nowhere/other.db", None):
        if given:
            monkeypatch.setenv("MLFLOW_REGISTRY_URI", given)
        else:
            monkeypatch.delenv("MLFLOW_REGISTRY_URI")
        with registry._stores(tmp_path):
            assert mlflow.get_registry_uri() == f"sqlite:///{tmp_path}/mlflow.db"
        assert os.environ.get("MLFLOW_REGISTRY_URI") == given


def test_a_lock_says_whose_it_is(tmp_path: Path) -> None:
    with (
        exclusive_lock(tmp_path, "it") as attempt,
        pytest.raises(
            RetryableError,
            match=rf"^the thing is locked by process {os.getpid()} \(\S+@\S+\) since \d{{4}}-\S+$",
        ),
        exclusive_lock(tmp_path, "the thing"),
    ):
        pass
    assert parse_attempt((tmp_path / OWNER).read_text()) == attempt
    assert parse_attempt("no JSON") is None


@pytest.mark.parametrize("there", [False, True])
def test_a_workspace_is_its_users_alone_unless_somebody_shares_it(
    there: bool, tmp_path: Path
) -> None:
    workspace = tmp_path / "w"
    if there:
        workspace.mkdir(mode=0o750)
    Workspace(str(workspace)).write("a/b", b"")
    assert stat.S_IMODE(workspace.stat().st_mode) == (0o750 if there else 0o700)
