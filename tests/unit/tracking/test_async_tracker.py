"""How runs are opened and closed at a server that refuses, is away, or answers too late."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from rich.console import Console

from pipeline.cli.display import ConsoleDisplay
from pipeline.config.loader import load_config
from pipeline.core.errors import ServerUnavailableError, UserError
from pipeline.tracking import async_tracker as patient
from pipeline.tracking import outbox
from pipeline.tracking import tracker as tracking
from pipeline.tracking.async_tracker import AsyncTracker
from pipeline.tracking.runs import run_lifecycle
from pipeline.tracking.tracker import STORE
from pipeline.workflow import runner as workflow
from pipeline.workflow.stage import Stage
from tests.waiting import until

DIGITS = Path(__file__).parents[3] / "configs" / "digits.yaml"


class Client:
    """A fake of MLflow's: the runs it has, and what happens when one is opened."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.runs = dict[str, dict[str, str]]()
        self.ended = dict[str, str]()
        self.batches, self.there = list[Any](), True
        self.opened: Callable[[int], None] = lambda _: None

    def get_experiment_by_name(self, _: str) -> Any:
        return SimpleNamespace(experiment_id="1", lifecycle_stage="active", tags={STORE: "s"})

    def create_run(self, _: str, tags: dict[str, str], run_name: str) -> Any:
        run_id = f"run{len(self.runs)}"
        self.runs[run_id] = tags
        self.opened(len(self.runs))
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def search_runs(self, _: Any, condition: str, **__: Any) -> list[Any]:
        return [
            SimpleNamespace(info=SimpleNamespace(run_id=run_id))
            for run_id, tags in self.runs.items()
            if condition == f"tags.`bngan.start` = '{tags['bngan.start']}'"
        ]

    def set_terminated(self, run_id: str, status: str, *_: Any) -> None:
        if not self.there:
            raise MlflowException("away")
        self.ended[run_id] = status

    def log_batch(self, run_id: str, **what: Any) -> None:
        if "params" in what:
            raise MlflowException("it is wrong", INVALID_PARAMETER_VALUE)
        self.batches.append((run_id, what))


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    found = Client()
    monkeypatch.setattr(tracking, "MlflowClient", lambda *_, **__: found)
    monkeypatch.setattr(outbox, "_PAUSES_S", (0.01,))
    monkeypatch.setattr(patient, "CLOSING_TIMEOUT_S", 1.0)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return found


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def tracker(client: Client, told: list[str], tmp_path: Path) -> Iterator[AsyncTracker]:
    with AsyncTracker(tmp_path, "experiment", told.append) as found:
        yield found


def refused(tracker: AsyncTracker, run_id: str) -> None:
    """A write that the server has refused, which nobody knows yet."""
    tracker.params(run_id, {"a": 1})
    until(lambda: not tracker.outbox._waiting)


def test_a_run_that_had_a_write_refused_has_failed(tracker, client) -> None:
    run_id = tracker.start("x", {})
    with (
        pytest.raises(UserError, match="has refused a write: it is wrong"),
        run_lifecycle(tracker, run_id),
    ):
        refused(tracker, run_id)
    assert client.ended == {run_id: "FAILED"}


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, "KILLED"), (ArithmeticError, "FAILED")]
)
def test_a_refusal_hides_nothing_and_the_run_is_closed(
    tracker, client, told, error: type[BaseException], status: str
) -> None:
    run_id = tracker.start("x", {})

    def fails() -> None:
        with run_lifecycle(tracker, run_id):
            refused(tracker, run_id)
            try:
                raise error
            finally:
                tracker.tags(run_id, {"stage.x": "interrupted"})  # as the workflow does

    with pytest.raises(error):
        fails()
    assert client.ended == {run_id: status}
    assert len(client.batches) == 1
    (line,) = told
    assert "has refused a write: it is wrong" in line


def test_ctrl_c_while_a_finished_run_waits_for_the_server(tracker, client, monkeypatch) -> None:
    run_id = tracker.start("x", {})
    flush, calls = tracker.outbox.flush, list[float]()

    def interrupted(*arguments: float) -> None:
        calls.append(arguments[0])
        if len(calls) == 1:
            raise KeyboardInterrupt
        flush(*arguments)

    monkeypatch.setattr(tracker.outbox, "flush", interrupted)
    with pytest.raises(KeyboardInterrupt), run_lifecycle(tracker, run_id):
        pass
    assert client.ended == {run_id: "KILLED"}


def test_a_finished_run_whose_server_stays_away_says_so(tracker, client, monkeypatch) -> None:
    monkeypatch.setattr(patient, "ANSWER_TIMEOUT_S", 0.1)
    run_id = tracker.start("x", {})
    client.there = False
    with pytest.raises(ServerUnavailableError, match="1 write undelivered"):
        tracker.finish(run_id, "FINISHED")


def test_a_database_without_room_is_told_of_once(tmp_path: Path, capfd) -> None:
    """And not by MLflow, in 80 lines each time."""
    found = tracking.Tracker(tmp_path, "experiment")
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        store.execute("drop table tags")
    with pytest.raises(MlflowException):
        found.start("x", {"a": "b"})
    assert "Traceback" not in capfd.readouterr().err


def test_ctrl_c_while_a_run_is_opened_leaves_none_open(tracker, client, monkeypatch) -> None:
    """The answer comes when nobody waits for it any more."""
    go, flush, calls = threading.Event(), tracker.outbox.flush, list[float]()

    def opened(_: int) -> None:
        go.wait(10)

    def interrupted(*arguments: float) -> None:
        calls.append(arguments[0])
        if len(calls) == 1:
            until(lambda: len(client.runs) == 1)
            threading.Timer(0.1, go.set).start()
            raise KeyboardInterrupt
        flush(*arguments)

    client.opened = opened
    monkeypatch.setattr(tracker.outbox, "flush", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tracker.start("x", {})
    assert client.ended == {"run0": "KILLED"}
    flush(10)  # and no refusal


def test_a_lost_answer_makes_no_second_run(tracker, client) -> None:
    def opened(count: int) -> None:
        if count == 1:
            raise MlflowException("the answer is lost")

    client.opened = opened
    assert tracker.start("x", {}) == "run0"
    assert tracker.start("y", {}) == "run1"
    assert client.ended == {}


def test_a_second_run_that_mlflow_itself_has_made_is_closed(tracker, client) -> None:
    def opened(count: int) -> None:
        if count == 1:
            client.create_run("1", client.runs["run0"], "x")  # sends the same request again

    client.opened = opened
    assert tracker.start("x", {}) == "run0"
    assert client.ended == {"run1": "KILLED"}


def test_a_run_that_fails_early_leaves_no_thread(client, tmp_path, monkeypatch) -> None:
    def fails(_: Path) -> None:
        raise UserError("no store")

    stage = Stage("prepare", lambda _: {}, config=("data",), inputs={})
    monkeypatch.setattr(workflow, "STAGES", (stage,))
    monkeypatch.setattr(workflow, "reap", fails)
    before = set(threading.enumerate())
    with pytest.raises(UserError, match="no store"):
        workflow.run(
            load_config(DIGITS, [f"workspace={tmp_path}"]), ConsoleDisplay(Console(quiet=True))
        )
    until(lambda: set(threading.enumerate()) <= before)
