"""Running parts, forcing, killing, and what is told about it afterwards."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from PIL import Image

from pipeline.config.loader import load_config
from pipeline.core.errors import UserError
from pipeline.core.lock import exclusive_lock, machine_id
from pipeline.tracking import life, runs
from pipeline.workflow import runner as workflow
from pipeline.workflow.stage import StageContext, Summary
from tests.commands import DIGITS, bngan, running
from tests.integration.conftest import TINY, Trained, statuses
from tests.integration.servers import served
from tests.waiting import until


def told(workspace: Path, command: str, *options: str) -> dict[str, Any]:
    done = bngan(command, "--workspace", str(workspace), "--json", *options)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_part_of_it_can_be_run_and_forced(trained: Trained) -> None:
    first = trained.result

    def part(*options: str, code: int = 0) -> Any:
        command = ("run", DIGITS, *options, "--json", f"workspace={trained.workspace}")
        done = bngan(*command, *TINY, code=code)
        return json.loads(done.stdout) if done.stdout else done.stderr

    assert statuses(part("--to", "reference")) == "cached cached"
    forced = part("--force", "evaluate", "--from", "evaluate")
    assert statuses(forced) == "cached cached cached ran cached"
    assert forced["stages"]["evaluate"]["reason"] == "forced"
    assert forced["scores"] == first["scores"]
    idle = part("--force", "register", "--to", "evaluate", code=2)
    assert "--force register, but the run goes from prepare to evaluate" in idle
    stale = part("--from", "evaluate", "train.lr=1e-5", code=2)
    assert "train is not up to date (config changed: train.lr" in stale["stages"]["train"]["reason"]
    assert "there is no stage score" in part("--to", "score", code=2)
    assert "there is no stage" in part("--from", "train", "--to", "prepare", code=2)


@pytest.mark.full
def test_a_killed_run_is_told_closed_and_completed(trained: Trained) -> None:
    """Killed while it evaluates: no chance to say so itself."""
    here = trained.workspace
    shutil.rmtree(evaluating := here / "stages" / "evaluate")
    arguments = ["run", DIGITS, f"workspace={here}", *TINY]
    driver = running(*arguments, stderr=subprocess.DEVNULL)
    while driver.poll() is None and not list(evaluating.glob(".*tmp*")):
        time.sleep(0.005)
    driver.kill()
    driver.wait()
    assert driver.returncode == -signal.SIGKILL
    state = told(here, "status")["runs"][0]
    assert (state["state"], state["stages"]["evaluate"]) == ("died", "died")
    assert state["stages"]["train"] == "cached"
    assert f"process {driver.pid} of " in state["process"]
    again = bngan(*arguments, "--json")
    assert f"run {state['run_id'][:8]} of process {driver.pid}" in again.stderr
    assert statuses(json.loads(again.stdout)).startswith("cached cached cached ran")
    now, before = told(here, "status")["runs"][:2]
    assert (now["state"], before["state"]) == ("finished", "interrupted")
    found = [trained.client.get_run(told_["run_id"]).info.status for told_ in (now, before)]
    assert found == ["FINISHED", "KILLED"]
    assert told(here, "reap")["reaped"] == []


def test_a_run_that_is_silent_for_long_is_dead_and_one_that_speaks_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = workflow.Tracker(tmp_path, "experiment")
    run_id = tracker.start("run", {"bngan.kind": "pipeline", **life.signs_of_life()})
    monkeypatch.setattr(runs, "HEARTBEAT_S", 0.05)

    def last_beat() -> str:
        return tracker.client.get_run(run_id).data.tags["bngan.heartbeat"]

    with runs._heartbeat(tracker, run_id):
        first = last_beat()
        until(lambda: last_beat() > first)
        (state,) = runs.states(tmp_path)
        assert (state.state, state.process.split()[1]) == ("running", str(os.getpid()))
        assert runs.reap(tmp_path) == []
    monkeypatch.setattr(life, "SILENCE_S", -1.0)
    (state,) = runs.states(tmp_path)
    assert state.state == "died"
    assert [dead.run_id for dead in runs.reap(tmp_path)] == [run_id]
    assert tracker.client.get_run(run_id).info.status == "KILLED"


def test_what_no_run_refers_to_is_found_and_removed_when_told(tmp_path: Path) -> None:
    def prepare(until: str) -> Any:
        command = ("run", DIGITS, "--json", "--to", until, f"workspace={tmp_path}")
        return json.loads(bngan(*command).stdout)

    result = prepare("reference")
    for name in ("stages/prepare/0123456789abcdef", "training/digits-0123"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_bytes(b"x" * 1000)
    found = told(tmp_path, "gc", "--delete")
    assert found["folders"] == []
    unknown = [item["path"] for item in found["others"]]
    assert unknown == ["stages/prepare/0123456789abcdef", "training/digits-0123"]
    found = told(tmp_path, "gc", *unknown)
    assert (found["bytes"], found["deleted"]) == (2000, False)
    assert told(tmp_path, "gc", "--delete", *unknown)["deleted"]
    assert told(tmp_path, "gc")["others"] == []
    # A run that is deleted in MLflow gives its outputs up, unless another one found them of use.
    prepare("prepare")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    client.delete_run(result["run_id"])
    for nested in client.search_runs(["1"], "tags.stage != ''"):
        client.delete_run(nested.info.run_id)
    (folder,) = told(tmp_path, "gc")["folders"]
    kept = next((tmp_path / "stages" / "reference").glob("[!.]*"))
    assert folder["path"] == f"stages/reference/{kept.name}"
    with exclusive_lock(tmp_path / "locks" / f"reference-{kept.name}", "it"):
        held = bngan("gc", "--delete", "--workspace", str(tmp_path))
    assert "stays: reference" in held.stderr
    assert kept.is_dir()
    # To another store on the same workspace they are another's, and the other way round.
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    elsewhere = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/other.db"}
    bngan("run", DIGITS, "--to", "prepare", f"workspace={tmp_path}", "data.limit=900", **elsewhere)
    command = ("gc", "--json", "--delete", "--workspace", tmp_path)
    found = json.loads(bngan(*command, **elsewhere).stdout)
    assert found["folders"] == []
    assert {item["reason"] for item in found["others"]} == {f"used by another store, {uri}"}
    assert len(found["others"]) == 2
    found = told(tmp_path, "gc", "--delete")
    assert [folder["path"] for folder in found["folders"]] == [f"stages/reference/{kept.name}"]
    (theirs,) = found["others"]
    assert theirs["reason"] == f"used by another store, {elsewhere['MLFLOW_TRACKING_URI']}"
    assert not kept.exists()


def test_another_machines_process_is_not_looked_for_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number may be free here, and its host's name the same."""
    tracker = workflow.Tracker(tmp_path, "experiment")
    run_id = tracker.start("run", {"bngan.kind": "pipeline"})
    for where, state in (("another", "running"), (machine_id(), "died")):
        process = {"pid": 2**22 + 1, "host": "localhost", "machine": where, "user": "somebody"}
        beat = {"bngan.process": json.dumps(process), "bngan.heartbeat": f"{time.time():.0f}"}
        tracker.tags(run_id, beat)
        assert [found.state for found in runs.states(tmp_path)] == [state]


class Silent:
    """Nobody watches."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


def test_what_fails_from_outside_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[str] = []

    def flaky(context: StageContext) -> Summary:
        attempts.append(context.run_id)
        if len(attempts) < 3:
            raise ConnectionError("the server is away")
        return {"note": "at last"}

    stage = workflow.Stage("prepare", flaky, config=("data",), inputs={}, retries=2)
    monkeypatch.setattr(workflow, "STAGES", (stage,))
    monkeypatch.setattr(workflow, "_PAUSE_S", 0.0)
    config = load_config(Path(DIGITS), [f"workspace={tmp_path}"])
    display, options = Silent(), workflow.Options("prepare", "prepare")
    result = workflow.run(config, display, options)
    assert result.stages["prepare"].status == "ran"
    assert [text.split(", trying")[0] for text in display.messages] == [
        "attempt 1 failed",
        "attempt 2 failed",
    ]
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    ended = [client.get_run(run_id).info.status for run_id in attempts]
    assert ended == ["FAILED", "FAILED", "FINISHED"]

    def mistaken(context: StageContext) -> Summary:
        attempts.append(context.run_id)
        raise UserError("a mistake")

    stage = workflow.Stage("prepare", mistaken, config=("data",), inputs={}, retries=2)
    monkeypatch.setattr(workflow, "STAGES", (stage,))
    forced = workflow.Options("prepare", "prepare", force=("prepare",))
    with pytest.raises(workflow.StageFailed, match="a mistake"):
        workflow.run(config, display, forced)
    assert len(attempts) == 4


def test_pictures_of_every_kind(original: Trained, tmp_path: Path) -> None:
    common = ("sample", "models:/bngan-digits/1", "--workspace", str(original.workspace))
    bngan(*common, "--count", "1", "-o", str(tmp_path / "one.png"))
    assert Image.open(tmp_path / "one.png").size == (8, 8)
    bngan(*common, "--count", "3", "--separately", "-o", str(tmp_path / "each"))
    names = sorted(path.name for path in (tmp_path / "each").iterdir())
    assert names == ["000000.png", "000001.png", "000002.png"]
    one, first_of_three = tmp_path / "one.png", tmp_path / "each" / "000000.png"
    assert one.read_bytes() == first_of_three.read_bytes()
    bngan(*common, "--count", "2", "--as", "interpolation", "-o", str(tmp_path / "path.png"))
    width, height = Image.open(tmp_path / "path.png").size
    assert width > 4 * height
    for wrong, message in (
        (("--as", "classes"), "knows no classes"),
        (("--label", "3"), "knows no classes"),
        (("--truncation", "0"), "truncation must lie in (0, 1]"),
        (("-o", str(tmp_path)), "must be a file to write"),
    ):
        assert message in bngan(*common, *wrong, code=2).stderr


@pytest.mark.full
def test_served_parameters_that_are_unknown_are_refused(original: Trained) -> None:
    def ask(**body: Any) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"{url}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    with served("models:/bngan-digits/1", "--workspace", str(original.workspace)) as url:
        index = {"index": [0, 1]}
        status, answer = ask(inputs=index, params={"seed": 7, "format": "png"})
        assert (status, len(answer["predictions"])) == (200, 2)
        status, answer = ask(inputs=index, params={"sed": 7})
        assert (status, answer["message"]) == (
            400,
            "unknown parameter sed: there are seed, truncation, label, class_name, format",
        )
        assert ask(input=index)[0] == ask(inputs=index, params={"truncation": 9})[0] == 400
