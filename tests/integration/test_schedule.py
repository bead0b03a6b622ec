"""Scheduled evaluation of a registered model, on this machine."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.core.errors import UserError
from pipeline.monitoring import alerts as alarm
from pipeline.monitoring import drift
from pipeline.monitoring.schedule import Schedule, load_schedule
from pipeline.tracking import life, runs
from tests.commands import bngan, running
from tests.integration.conftest import Trained
from tests.integration.digits import write_digits
from tests.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.server.shutdown()


@pytest.fixture(scope="module")
def workspace(module_copy: Trained) -> Path:
    """Every test has a schedule of its own there."""
    return module_copy.workspace


@pytest.fixture(scope="module")
def client(module_copy: Trained) -> MlflowClient:
    return module_copy.client


@pytest.fixture(scope="module")
def camera(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
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


def begun(tracker: drift.Tracker, about: dict[str, str], beat: float) -> str:
    """An evaluation on another machine, by its last sign of life."""
    process = {"pid": 1, "host": "elsewhere", "machine": "another", "user": "me"}
    signs = {"bngan.process": json.dumps(process), "bngan.heartbeat": f"{beat:.0f}"}
    return tracker.start("evaluation", {"bngan.kind": drift.KIND, **about, **signs})


def silent(*_: Any) -> None:
    pass


def test_dates_that_were_missed(workspace: Path, camera: Path, client: MlflowClient) -> None:
    path = write(workspace, camera, "missed")
    command = ("schedule", path, "--partition", "2026-11-19..2026-11-21")
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
    assert version.tags["bngan.drift.missed"] == "ok 2026-11-21T03:00"
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
    monkeypatch.setattr(alarm, "_PAUSE_S", 0.0)
    monkeypatch.setenv("BNGAN_HOOK", f"http://{receiver.host}/?token=secret")
    kept = load_schedule(write(workspace, camera, "gone", webhook="${oc.env:BNGAN_HOOK}"))
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
    excess = told["data"]["distance"] - told["data"]["expected"]
    assert excess > 2 * kept.drift.tolerance * told["data"]["variance"]
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
    command = ("schedule", path, "--partition", "2026-11-20")
    both = [running(*command, stdout=subprocess.PIPE) for _ in range(2)]
    told = [each.communicate(timeout=300)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0]
    assert sorted("(done before)" in line for line in told) == [False, True]
    assert len(evaluations(client, "twice")) == 1


def test_an_evaluation_that_was_killed_is_closed_and_done(
    workspace: Path, camera: Path, client: MlflowClient
) -> None:
    kept = load_schedule(write(workspace, camera, "killed"))
    tracker = drift.Tracker(workspace, "killed")
    about = {"schedule": "killed", "partition": "2026-11-20T03:00", "model": kept.model}
    dead = begun(tracker, about, beat=time.time() - 2 * life.SILENCE_S)
    other = begun(tracker, {**about, "model": "another"}, beat=time.time())
    tracker.finish(other, "FINISHED")
    # What has been done for another model has not been done for this one.
    found = drift.evaluate(kept, "2026-11-20T03:00", silent)
    assert found.new
    assert client.get_run(dead).info.status == "KILLED"
    (state,) = (s for s in runs.states(workspace) if s.run_id == found.run_id)
    assert (state.experiment, state.state, state.stages) == ("killed", "finished", {})
    assert state.process.startswith(f"process {os.getpid()} of ")
    killed = begun(tracker, about, beat=time.time() - 2 * life.SILENCE_S)
    (state,) = (s for s in runs.states(workspace) if s.run_id == killed)
    assert state.state == "died"
    assert killed in [dead.run_id for dead in runs.reap(workspace)]
    assert client.get_run(killed).info.status == "KILLED"


def test_another_machine_that_is_at_it_is_left_to_it(
    workspace: Path, camera: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, partition = load_schedule(write(workspace, camera, "elsewhere")), "2026-11-20T03:00"
    tracker = drift.Tracker(workspace, "elsewhere")
    about = {"schedule": "elsewhere", "partition": partition, "model": kept.model}
    alive = begun(tracker, about, beat=time.time())
    at_it = f"{partition} is being evaluated by process 1 of me on elsewhere, run {alive}"
    with pytest.raises(UserError, match=at_it):
        drift.evaluate(kept, partition, silent)
    assert set(evaluations(client, "elsewhere")) == {(partition, "RUNNING")}
    # It has begun between our look and our own beginning.
    monkeypatch.setattr(drift, "_settle", lambda *_: None)
    with pytest.raises(UserError, match=at_it):
        drift.evaluate(kept, partition, silent)
    assert set(evaluations(client, "elsewhere")) == {(partition, "RUNNING"), (partition, "FAILED")}
    tracker.finish(alive, "KILLED")


def test_who_is_champion_is_asked_once_it_is_our_turn_and_it_may_have_no_score(
    workspace: Path, camera: Path, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, held = load_schedule(write(workspace, camera, "waited")), list[str]()
    kept.data.path, real, hold = None, drift.registry.tags_of, drift.exclusive_lock

    @contextmanager
    def slow(*given: Any) -> Iterator[str]:
        with hold(*given) as attempt:
            held.append(attempt)
            yield attempt

    def champion(*given: Any) -> dict[str, str]:
        assert held
        return aliases(*given)

    aliases = drift.aliases
    monkeypatch.setattr(drift, "exclusive_lock", slow)
    monkeypatch.setattr(drift, "aliases", champion)
    monkeypatch.setattr(
        drift.registry, "tags_of", lambda *v: {k: t for k, t in real(*v).items() if k != "fid"}
    )
    found = drift.evaluate(kept, "2026-11-20T03:00", silent)
    assert found.drift == "alarm"
    assert found.reason.endswith("where none was registered")
    record = Path(client.download_artifacts(found.run_id, "drift.json")).read_text()
    assert json.loads(record)["score"]["recorded"] is None
    assert "NaN" not in record


def test_here_is_for_partitions(workspace: Path, camera: Path) -> None:
    told = bngan("schedule", str(write(workspace, camera, "here")), "--here", code=2)
    assert told.stderr.startswith("error: --here is for --partition")
    wrong = ("schedule", str(write(workspace, camera, "here")), "--partition", "9999-12-31")
    assert "has not been due then" in bngan(*wrong, code=2).stderr


def test_waiting_ends_with_ctrl_c(workspace: Path, camera: Path) -> None:
    waiting = running("schedule", write(workspace, camera, "wait"), stderr=subprocess.PIPE)
    assert waiting.stderr
    line = waiting.stderr.readline()
    assert line.startswith("wait: next at ")
    assert line.endswith("T03:00, Europe/Berlin; Ctrl-C ends it\n")
    waiting.send_signal(signal.SIGINT)
    _, rest = waiting.communicate(timeout=60)
    assert (waiting.returncode, rest) == (130, "interrupted\n")
    other = Path(workspace).parent / "empty"
    nothing = write(other, camera, "nothing")
    told = bngan("schedule", str(nothing), "--partition", "2026-11-20", code=2)
    assert "there is no MLflow database" in told.stderr
