"""Scheduled evaluation of a registered model, on this machine."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline import alarm, drift
from pipeline.errors import UserError
from pipeline.schedule import Schedule, load_schedule
from tests.integration.conftest import ROOT, bngan
from tests.integration.digits import write_digits
from tests.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.server.shutdown()


@pytest.fixture(scope="module")
def camera(
    first: dict[str, Any], workspace: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """New images of each day: all digits, or half of them on the 22nd."""
    folder = tmp_path_factory.mktemp("camera")
    for day, kinds in (("20", 10), ("21", 10), ("22", 5)):
        write_digits(workspace, folder / f"2026-11-{day}", kinds)
    return folder


def write(workspace: Path, camera: Path, name: str, **alarms: str) -> Path:
    given = {
        "name": name,
        "model": "bngan-digits",
        "cron": "0 3 * * *",
        "timezone": "Europe/Berlin",
        "workspace": str(workspace),
        "data": {"path": f"{camera}/{{date}}"},
        "alarm": alarms,
    }
    (path := camera / f"{name}.yaml").write_text(yaml.safe_dump(given))
    return path


def evaluations(client: MlflowClient, name: str) -> dict[tuple[str, str], Run]:
    """Runs by partition and status."""
    experiment = client.get_experiment_by_name(name)
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    return {(run.data.tags["partition"], run.info.status): run for run in found}


def silent(*_: Any) -> None:
    pass


def test_dates_that_were_missed(workspace: Path, camera: Path, client: MlflowClient) -> None:
    path = write(workspace, camera, "missed")
    command = ("schedule", str(path), "--partition", "2026-11-19..2026-11-21")
    # A day without images fails, and does not keep the others waiting.
    told = bngan(*command, code=2)
    assert "cannot read" in told.stderr
    assert "2026-11-19" in told.stderr
    lines = [line.split(":00 ")[1].split(":")[0] for line in told.stdout.splitlines()]
    assert lines == ["ok", "ok"]
    again = bngan("schedule", str(path), "--partition", "2026-11-20..2026-11-21")
    assert again.stdout.count("(done before)") == 2
    done = evaluations(client, "missed")
    assert set(done) == {
        ("2026-11-19T03:00", "FAILED"),
        ("2026-11-20T03:00", "FINISHED"),
        ("2026-11-21T03:00", "FINISHED"),
    }
    run = done["2026-11-21T03:00", "FINISHED"]
    tags = run.data.tags
    version = client.get_model_version("bngan-digits", tags["model_version"])
    assert run.data.metrics["fid"] == pytest.approx(float(version.tags["fid"]), rel=1e-3)
    assert run.data.metrics["drift_p_value"] > 0.01
    assert version.tags["bngan.drift"] == "ok 2026-11-21T03:00"
    model = client.get_logged_model(version.tags["bngan.model_id"])
    of_run = {m.key: m.dataset_name for m in model.metrics if m.run_id == run.info.run_id}
    assert (of_run["fid"], of_run["drift_distance"]) == ("reference", "2026-11-21")
    assert [i.dataset.name for i in run.inputs.dataset_inputs] == ["reference", "2026-11-21"]
    assert {"drift.json", "report.html"} == {
        each.path for each in client.list_artifacts(run.info.run_id)
    }


def test_half_of_the_classes_gone(
    workspace: Path,
    camera: Path,
    client: MlflowClient,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alarm, "_PAUSE", 0.0)
    monkeypatch.setenv("HOOK", f"http://{receiver.host}/?token=secret")
    kept = load_schedule(write(workspace, camera, "gone", webhook="${oc.env:HOOK}"))
    receiver.codes = [500, 500, 500]
    with pytest.raises(UserError, match="could not be told, 3 times: it answers 500"):
        drift.evaluate(kept, "2026-11-22T03:00", silent)
    # Not told is not done.
    found = drift.evaluate(kept, "2026-11-22T03:00", silent)
    assert (found.drift, found.new) == ("alarm", True)
    assert found.reason.startswith("model unchanged, FID ")
    assert "as registered; data drifted, distance " in found.reason
    assert len(receiver.got) == 4
    _, told = receiver.got[-1]
    assert (told["drift"], told["data"]["p_value"], told["score"]["changed"]) == (
        "alarm",
        1 / 200,
        False,
    )
    assert told["data"]["interval"][0] > 2 * told["data"]["expected"]
    assert told["data"]["fid_new"] != told["data"]["fid_old"]
    assert not drift.evaluate(kept, "2026-11-22T03:00", silent).new
    assert len(receiver.got) == 4
    done = evaluations(client, "gone")
    assert set(done) == {("2026-11-22T03:00", "FAILED"), ("2026-11-22T03:00", "FINISHED")}
    run = done["2026-11-22T03:00", "FINISHED"]
    assert run.data.tags["told"] == f"webhook at {receiver.host}"
    assert "secret" not in json.dumps(run.to_dictionary())
    report = Path(client.download_artifacts(run.info.run_id, "report.html")).read_text()
    assert "<h2>The model</h2>" in report
    assert "Data drifted" in report
    assert "secret" not in report


def test_a_score_that_has_changed_is_not_put_down_to_the_data(
    workspace: Path, client: MlflowClient, camera: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = drift.registry.tags_of
    monkeypatch.setattr(drift.registry, "tags_of", lambda *v: {**real(*v), "fid": "1.5"})
    kept: Schedule = load_schedule(write(workspace, camera, "other"))
    kept.data.path = None
    found = drift.evaluate(kept, "2026-11-20T03:00", silent)
    assert found.drift == "alarm"
    assert found.reason.endswith("where 1.50 was registered")
    assert "data" not in found.reason


def test_the_same_date_from_two_at_once_is_done_once(
    workspace: Path, camera: Path, client: MlflowClient
) -> None:
    path = write(workspace, camera, "twice")
    command = [sys.executable, "-m", "pipeline", "schedule", str(path), "--partition", "2026-11-20"]
    both = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    told = [each.communicate(timeout=120)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0]
    assert sorted("(done before)" in line for line in told) == [False, True]
    assert len(evaluations(client, "twice")) == 1


def test_an_evaluation_that_was_killed_is_closed_and_done(
    workspace: Path, camera: Path, client: MlflowClient
) -> None:
    kept = load_schedule(write(workspace, camera, "killed"))
    tracker = drift.Tracker(workspace, "killed")
    about = {"schedule": "killed", "partition": "2026-11-20T03:00"}
    dead = tracker.start("killed", {"bngan.kind": drift.KIND, **about})
    assert drift.evaluate(kept, "2026-11-20T03:00", silent).new
    assert client.get_run(dead).info.status == "KILLED"


def test_waiting_ends_with_ctrl_c(workspace: Path, camera: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "schedule", str(write(workspace, camera, "wait"))]
    waiting = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert waiting.stderr
    line = waiting.stderr.readline()
    assert line.startswith("wait: next at ")
    assert line.endswith("T03:00, Europe/Berlin; Ctrl-C ends it\n")
    waiting.send_signal(signal.SIGINT)
    _, rest = waiting.communicate(timeout=30)
    assert (waiting.returncode, rest) == (130, "interrupted\n")
    other = Path(workspace).parent / "empty"
    nothing = write(other, camera, "nothing")
    told = bngan("schedule", str(nothing), "--partition", "2026-11-20", code=2)
    assert "there is no MLflow database" in told.stderr
