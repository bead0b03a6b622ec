"""Everything with nothing but MLFLOW_TRACKING_URI of a server set, and that server coming and going."""

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.config.loader import load_config
from pipeline.core.errors import UserError
from pipeline.registry import registry
from pipeline.registry.logged_model import ModelPackage
from pipeline.serving.model_interface import model_interface
from pipeline.tracking import async_tracker as patient
from pipeline.tracking import life, runs
from pipeline.workflow import runner as workflow
from pipeline.workflow.stage import StageContext, Summary
from tests.commands import DIGITS, bngan, running
from tests.integration.conftest import statuses
from tests.integration.servers import Server
from tests.integration.test_operating import Silent
from tests.unit.serving.test_server import tiny
from tests.waiting import until

BATCH = 64


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("server"))
    found.start()
    yield found
    found.kill()


@pytest.fixture(autouse=True)
def _there(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    if server.process is None:
        server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def trainings(client: MlflowClient, name: str, condition: str = "") -> list[Run]:
    """Runs of the stage train in an experiment, which may not be there yet."""
    experiment = client.get_experiment_by_name(name)
    ids = [experiment.experiment_id] if experiment else []
    return client.search_runs(ids, f"tags.stage = 'train'{condition}") if ids else []


def training(workspace: Path, name: str, images: int) -> list[str]:
    """Arguments of a run that tells 30 times what it does, and scores 3 times."""
    pace = [
        f"train.images={images}",
        f"train.score_every={images // 3}",
        f"train.batch_size={BATCH}",
    ]
    return [
        "run",
        DIGITS,
        f"workspace={workspace}",
        f"name={name}",
        f"register.model={name}",
        *pace,
    ]


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("seconds", "images"), [(10, 120_000), pytest.param(60, 450_000, marks=pytest.mark.slow)]
)
def test_a_server_killed_in_mid_training_is_told_everything_when_it_is_back(
    server: Server, tmp_path: Path, seconds: int, images: int
) -> None:
    name = f"away-{seconds}"
    command = (*training(tmp_path, name, images), "--json")
    driver = running(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    client = MlflowClient(server.uri)

    def trains() -> bool:
        assert driver.poll() is None, driver.communicate()
        going_on = " and attributes.status = 'RUNNING' and metrics.loss_d > 0"
        return bool(trainings(client, name, going_on))

    until(trains, 240)
    server.kill()
    killed = time.time()
    time.sleep(seconds)
    back = time.time()
    server.start()
    out, told = driver.communicate(timeout=600)
    assert driver.returncode == 0, told
    assert statuses(json.loads(out)).endswith("ran ran ran")
    assert f"MLflow at {server.uri} is away" in told
    assert f"MLflow at {server.uri} is back after" in told
    (train,) = trainings(client, name)
    assert train.info.status == "FINISHED"
    curve = client.get_metric_history(train.info.run_id, "loss_d")
    every = images // 30
    assert sorted(p.step for p in curve) == [-(-every * i // BATCH) * BATCH for i in range(1, 31)]
    # Training went on meanwhile, and what it said then bears that time.
    assert [point for point in curve if killed < point.timestamp / 1000 < back]
    fingerprint = train.data.tags["fingerprint"]
    history = tmp_path / "stages" / "train" / fingerprint[:16] / "history.json"
    for record in json.loads(history.read_text()):
        for key in record.keys() - {"images"}:
            points = client.get_metric_history(train.info.run_id, key)
            assert [p.value for p in points if p.step == record["images"]] == [record[key]]
    assert len(client.list_artifacts(train.info.run_id, "samples")) == 3


@pytest.mark.full
@pytest.mark.timeout(900)
def test_every_command_works_with_the_server_alone(server: Server, tmp_path: Path) -> None:
    experiment = training(tmp_path, "alone", 8_000)
    bngan(*experiment)
    assert bngan(*experiment).stderr.count("cached in") == 5
    assert all(" cached " in line for line in bngan("plan", *experiment[1:]).stdout.splitlines())
    # A second version, of the same generator: no better.
    bngan(*experiment, "register.min_improvement=0.5")
    common = ("--workspace", tmp_path)
    champion = "models:/alone@champion"
    for (command, *arguments), expected in (
        (("status",), "alone finished"),
        (("models", "alone"), "alone 1      champion"),
        (("sample", champion, "-o", tmp_path / "grid.png"), "64 images"),
        (("evaluate", champion), "measured by"),
        (("compare", champion, "models:/alone/2"), "No difference beyond chance"),
        (("promote", "alone", 2), "version 2 of alone is champion"),
        (("rollback", "alone"), "version 1 of alone is champion again, not 2"),
        (("gc",), "0 folders"),
        (("reap",), "no runs"),
    ):
        assert expected in "".join(bngan(command, *arguments, *common)), command
    assert not list(tmp_path.rglob("mlflow.db"))
    client = MlflowClient(server.uri)
    (data,) = client.get_run(trainings(client, "alone")[0].info.run_id).inputs.dataset_inputs
    assert data.dataset.name == "embedded:digits"
    version = client.get_model_version("alone", "1")
    assert client.get_logged_model(version.tags["bngan.model_id"]).model_uri


@pytest.mark.full
def test_versions_go_with_the_files_that_the_server_has(server: Server, tmp_path: Path) -> None:
    """Only those of this workspace: others use the same server."""
    (tmp_path / "generator").mkdir()
    tiny().save(tmp_path / "generator")
    tracker = workflow.Tracker(tmp_path, "kept")
    for number, workspace in enumerate((tmp_path, tmp_path / "another", tmp_path, tmp_path)):
        parent = tracker.start("kept", {"bngan.kind": "pipeline"})
        tracker.params(parent, {"workspace": str(workspace)})
        tags = {"bngan.fingerprint": str(number)}
        package = ModelPackage(
            {"generator": tmp_path / "generator"}, tags, "", {}, ("data", "0"), model_interface()
        )
        registry.register(tmp_path, tracker.start("register", {}, parent), "kept", package, print)
        tracker.finish(parent, "FINISHED")
    tracker.client.set_registered_model_alias("kept", "named", "1")

    def weights() -> int:
        return len(list((server.folder / "kept").rglob("generator.safetensors")))

    before = weights()
    options = ("gc", "--keep", "1", "--json", "--workspace", tmp_path)
    listed, removed = bngan(*options), bngan(*options, "--delete")
    assert "stays: 1 versions that were made in other workspaces" in listed.stderr
    for output in (listed, removed):
        (version,) = json.loads(output.stdout)["versions"]
        assert (version["path"], version["bytes"] > 10_000) == ("models:/kept/3", True)
    assert weights() == before - 1
    left = tracker.client.search_model_versions("name = 'kept'")
    assert sorted(version.version for version in left) == ["1", "2", "4"]
    with registry.open_generator(tmp_path, "models:/kept@named"):
        pass


@pytest.fixture
def cable(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """What this process reaches servers by, as long as it is set."""
    plugged, send = threading.Event(), requests.Session.send
    plugged.set()

    def through(*args: Any, **options: Any) -> requests.Response:
        if plugged.is_set():
            return send(*args, **options)
        raise requests.ConnectionError("the cable is cut")

    monkeypatch.setattr(requests.Session, "send", through)
    return plugged


@pytest.fixture
def play(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[StageContext], None]], list[str]]:
    """Runs a pipeline whose only stage is a function; what a person was told."""

    def run(script: Callable[[StageContext], None]) -> list[str]:
        def stage(context: StageContext) -> Summary:
            script(context)
            return {"note": "done"}

        only = workflow.Stage("prepare", stage, config=("data",), inputs={})
        monkeypatch.setattr(workflow, "STAGES", (only,))
        config = load_config(Path(DIGITS), [f"workspace={tmp_path}", "name=play"])
        told = Silent()
        try:
            workflow.run(config, told, workflow.Options("prepare", "prepare"))
        finally:
            messages[:] = told.messages
        return messages

    messages: list[str] = []
    run.messages = messages  # type: ignore[attr-defined]
    return run


def test_ctrl_c_while_the_server_is_away_does_not_hang(
    cable: threading.Event, play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient, "CLOSING_TIMEOUT_S", 1.0)

    def script(context: StageContext) -> None:
        cable.clear()
        context.events.metrics({"loss": 1.0}, 1)
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        play(script)
    assert time.monotonic() - started < 60  # and not as long as it is patient
    (away, lost) = play.messages
    assert "is away" in away
    assert re.search(r"\): \d writes undelivered$", lost)


def test_a_server_that_stays_away_ends_the_run_with_a_line(
    cable: threading.Event, play: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient, "ANSWER_TIMEOUT_S", 4.0)

    def script(context: StageContext) -> None:
        cable.clear()
        context.events.metrics({"loss": 1.0}, 1)

    with pytest.raises(workflow.StageFailed, match="writes undelivered") as failed:
        play(script)
    assert isinstance(failed.value.cause, UserError)


def test_a_run_closed_as_dead_by_mistake_loses_nothing_and_its_end_wins(
    server: Server,
    cable: threading.Event,
    play: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server was away for so long that the first to come back took the run for dead."""
    seen, client = list[str](), MlflowClient(server.uri)

    def script(context: StageContext) -> None:
        context.events.metrics({"loss": 1.0}, 1)
        cable.clear()
        context.events.metrics({"loss": 2.0}, 2)
        cable.set()
        monkeypatch.setattr(life, "SILENCE_S", -1.0)
        assert runs.reap(tmp_path)[0].experiment == "play"
        assert client.get_run(context.run_id).info.status == "KILLED"
        monkeypatch.setattr(life, "SILENCE_S", 60.0)
        context.events.metrics({"loss": 3.0}, 3)
        seen.append(context.run_id)

    play(script)
    run = client.get_run(seen[0])
    assert run.info.status == "FINISHED"
    assert client.get_run(run.data.tags["mlflow.parentRunId"]).info.status == "FINISHED"
    points = client.get_metric_history(seen[0], "loss")
    assert [(point.step, point.value) for point in points] == [(1, 1.0), (2, 2.0), (3, 3.0)]
    state = next(state for state in runs.states(tmp_path) if state.experiment == "play")
    assert state.state == "finished"
