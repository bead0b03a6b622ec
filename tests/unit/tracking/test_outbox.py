"""What a run tells MLflow while the server comes and goes."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from pipeline.core.errors import UserError
from pipeline.tracking import outbox as module
from pipeline.tracking.outbox import BATCH, Outbox
from tests.unit.core.test_urllib3_errors import failure
from tests.waiting import until


def no_answer() -> MlflowException:
    """Return MLflow's error where nobody listens."""
    error = MlflowException("API request to http://127.0.0.1:1/api failed")
    error.__cause__ = failure("http://127.0.0.1:1/api")
    return error


class Server:
    """A fake: keeps what it is told, unless it is away or refuses it."""

    def __init__(self) -> None:
        self.there = threading.Event()
        self.there.set()
        self.kept: list[Any] = []
        self.calls, self.attempts = list[int](), 0

    def write(self, what: Any) -> Any:
        self.attempts += 1
        if not self.there.is_set():
            raise no_answer()
        if what == "wrong":
            raise MlflowException("it is wrong", INVALID_PARAMETER_VALUE)
        self.kept.append(what)
        return what

    def log(self, run_id: str, metrics: list[Metric]) -> None:
        self.attempts += 1
        if not self.there.is_set():
            raise no_answer()
        if any(metric.key == "wrong" for metric in metrics):
            raise MlflowException("it is wrong", INVALID_PARAMETER_VALUE)
        self.calls.append(len(metrics))
        self.kept += [(run_id, metric.step) for metric in metrics]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(module, "_PAUSES_S", (0.01, 0.02))
    return Server()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def outbox(server: Server, told: list[str]) -> Iterator[Outbox]:
    found = Outbox(server.log, "http://there", told.append)
    yield found
    found.close()


def send(outbox: Outbox, server: Server, *what: Any) -> None:
    for each in what:
        outbox.send(lambda each=each: server.write(each))


def point(step: int, key: str = "loss") -> list[Metric]:
    return [Metric(key, 0.5, 1000, step)]


def test_what_is_sent_arrives_in_order_and_nobody_is_told(outbox, server, told) -> None:
    send(outbox, server, *range(100))
    outbox.flush(60)
    assert server.kept == list(range(100))
    assert told == []


def test_a_server_that_is_away_holds_nobody_up_and_loses_nothing(outbox, server, told) -> None:
    send(outbox, server, 1)
    outbox.flush(60)
    for time_away in (1, 2):
        server.there.clear()
        before = time.monotonic()
        send(outbox, server, *range(10))
        assert time.monotonic() - before < 60  # not the server's absence
        until(lambda already=server.attempts: server.attempts > already + 4)
        server.there.set()
        outbox.flush(60)
        assert server.kept == [1, *list(range(10)) * time_away]
        until(lambda n=time_away: len(told) == 2 * n)  # once when it goes, once when it is back
    assert "http://there is away" in told[0]
    assert "http://there is back after 0 s" in told[1]


def test_metrics_that_have_piled_up_go_in_batches(outbox, server) -> None:
    server.there.clear()
    send(outbox, server, "first")
    for step in range(2500):
        outbox.metrics("run", point(step))
    outbox.metrics("other", point(0))
    outbox.metrics("run", [*point(2500), *point(2500, "another")] * 400)
    send(outbox, server, "last")
    server.there.set()
    outbox.flush(60)
    steps = [("run", step) for step in range(2500)]
    assert server.kept == ["first", *steps, ("other", 0), *[("run", 2500)] * 800, "last"]
    assert server.calls == [BATCH, BATCH, 500, 1, 800]


def test_what_is_refused_is_told_once_and_the_rest_delivered(outbox, server) -> None:
    send(outbox, server, 1, "wrong", 2)
    with pytest.raises(MlflowException, match="it is wrong"):
        outbox.flush(60)
    send(outbox, server, "wrong")
    until(lambda: server.attempts == 4)
    time.sleep(0.05)
    with pytest.raises(MlflowException, match="it is wrong"):
        send(outbox, server, "not sent")
    send(outbox, server, 3)
    outbox.flush(60)
    assert server.kept == [1, 2, 3]


def test_a_metric_that_is_refused_does_not_take_its_batch_along(outbox, server) -> None:
    server.there.clear()
    send(outbox, server, "first")
    for step in range(5):
        outbox.metrics("run", point(step, "wrong" if step == 2 else "loss"))
    server.there.set()
    with pytest.raises(MlflowException, match="it is wrong"):
        outbox.flush(60)
    assert server.kept == ["first", *[("run", step) for step in (0, 1, 3, 4)]]


def test_patience_has_an_end_and_ends_once(outbox, server) -> None:
    server.there.clear()
    send(outbox, server, 1, 2, 3)
    until(lambda: server.attempts > 1)
    complaint = r"http://there is away \(.*Connection refused\): 3 writes undelivered"
    with pytest.raises(UserError, match=complaint):
        outbox.flush(0.1)
    before = time.monotonic()
    with pytest.raises(UserError, match=complaint):
        outbox.flush(600)
    assert time.monotonic() - before < 60


def test_a_question_is_answered_after_what_was_sent_before(outbox, server) -> None:
    server.there.clear()
    send(outbox, server, 1)
    threading.Timer(0.1, server.there.set).start()
    assert outbox.ask(lambda: list(server.kept), 60) == [1]
    with pytest.raises(MlflowException, match="it is wrong"):
        outbox.ask(lambda: server.write("wrong"), 60)
    assert outbox.ask(lambda: server.write(2), 60) == 2
    server.there.clear()
    with pytest.raises(UserError, match="1 write undelivered"):
        outbox.ask(lambda: server.write("nobody waits for this"), 0.1)
    server.there.set()
    until(lambda: not outbox._waiting)
    assert server.kept == [1, 2]


def test_patience_counts_from_the_last_delivery(outbox, server, monkeypatch) -> None:
    seconds, go = [0.0], threading.Event()
    monkeypatch.setattr(module.time, "monotonic", lambda: seconds[0])
    for _ in range(8):
        outbox.send(lambda: seconds.append(seconds.pop() + 0.9))
    outbox.flush(1)
    assert seconds[0] == pytest.approx(7.2)
    assert not outbox.given_up
    monkeypatch.undo()
    outbox.send(lambda: go.wait(60))
    with pytest.raises(UserError, match="too slow"):
        outbox.flush(60, limit=0.3)
    go.set()


def test_patience_begins_anew_when_the_server_is_back(outbox, server) -> None:
    server.there.clear()
    send(outbox, server, 1)
    with pytest.raises(UserError, match="1 write undelivered"):
        outbox.flush(0.05)
    assert outbox.given_up
    server.there.set()
    until(lambda: not outbox.given_up)
    server.there.clear()
    send(outbox, server, 2)
    threading.Timer(0.2, server.there.set).start()
    outbox.flush(60)
    assert server.kept == [1, 2]


def test_what_is_appended_raises_nothing_and_keeps_the_refusal(outbox, server) -> None:
    send(outbox, server, "wrong")
    until(lambda: not outbox._waiting)
    outbox.send(lambda: server.write("last"), heed=False)
    with pytest.raises(MlflowException, match="it is wrong"):
        outbox.flush(60)
    assert server.kept == ["last"]


@pytest.mark.parametrize("fails", [False, True])
def test_an_answer_that_comes_too_late_is_no_refusal(outbox, server, fails: bool) -> None:
    asked, go = threading.Event(), threading.Event()

    def slowly() -> int:
        asked.set()
        go.wait(60)
        if fails:
            raise MlflowException("it is wrong", INVALID_PARAMETER_VALUE)
        return 1

    with pytest.raises(UserError, match="too slow"):
        outbox.ask(slowly, 0.05)
    assert asked.is_set()
    go.set()
    until(lambda: not outbox.given_up)
    send(outbox, server, 2)
    outbox.flush(60)
    assert server.kept == [2]


def test_of_the_files_that_pile_up_the_oldest_are_dropped(
    outbox, server, told, monkeypatch
) -> None:
    monkeypatch.setattr(module, "HELD", 100)
    server.there.clear()
    send(outbox, server, "first")
    until(lambda: len(told) == 1)
    for number in range(10):
        outbox.metrics("run", point(number))
        outbox.file(lambda number=number: server.write(number), 30)
    server.there.set()
    outbox.flush(60)
    pictures = [what for what in server.kept if isinstance(what, int)]
    assert pictures == [7, 8, 9]
    assert [what[1] for what in server.kept if isinstance(what, tuple)] == list(range(10))
    until(lambda: len(told) == 3)
    outbox.close()
    assert [line for line in told if "missing" in line] == [
        "7 pictures will be missing in MLflow at http://there: more than 0 MB waited for it"
    ]
