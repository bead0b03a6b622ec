"""A study under way."""

import json
from pathlib import Path

import pytest

from pipeline.core.errors import RetryableError
from pipeline.core.lock import exclusive_lock
from pipeline.studies.design import Study
from pipeline.studies.run import run_study
from pipeline.tracking import life, runs
from pipeline.tracking.tracker import Tracker


def test_a_study_that_died_with_a_trials_run_open_is_told_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker(tmp_path, "study")
    study = tracker.start("study", {"bngan.kind": "study", **life.signs_of_life()})
    trial = tracker.start("a 0", {"task": "ring8", "arm": "a"}, study)
    (alive,) = runs.states(tmp_path)
    assert (alive.state, alive.stages) == ("running", {})
    dead = json.dumps(
        {**json.loads(tracker.client.get_run(study).data.tags[life.PROCESS]), "pid": 2**22 + 1}
    )
    tracker.tags(study, {life.PROCESS: dead})
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
