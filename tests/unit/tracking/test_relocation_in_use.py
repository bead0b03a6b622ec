"""A copied or moved workspace keeps its addresses while a command works in it."""

import json
import time
from pathlib import Path

import pytest

from pipeline.core.errors import RetryableError
from pipeline.core.lock import WORKSPACE_LOCK, exclusive_lock, process_info, shared_lock
from pipeline.monitoring import drift
from pipeline.monitoring.schedule import Schedule
from pipeline.tracking import relocation
from pipeline.tracking.life import BEAT, PROCESS, SILENCE_S
from pipeline.tracking.relocation import BACKUP
from pipeline.tracking.tracker import Tracker, existing_client
from tests.workspaces import copied, dump, filled, same_but_for_the_place


@pytest.fixture
def original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return filled(tmp_path / "original")


@pytest.mark.parametrize("held", [WORKSPACE_LOCK, "locks/model-gan", "training/x"])
def test_nothing_is_rewritten_while_somebody_holds_the_copy(
    held: str, original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = copied(original, "copy")
    before = dump(copy)
    monkeypatch.setattr(relocation, "_TIMEOUT_S", 0.2)
    lock = shared_lock if held == WORKSPACE_LOCK else exclusive_lock
    with lock(copy / held, "held"):  # type: ignore[operator]
        existing_client(copy)  # reads it as it is
        assert dump(copy) == before
        with pytest.raises(RetryableError, match="and a command works in it: try again"):
            existing_client(copy, writes=True)
    assert dump(copy) == before
    assert not (copy / BACKUP).exists()
    with exclusive_lock(original / "locks" / "model-gan", "of the original"):
        existing_client(copy)
    assert same_but_for_the_place(copy, original)


@pytest.mark.parametrize(
    ("who", "silent", "works"),
    [
        ({"machine": "another", "pid": 1}, 0.0, True),  # whose locks nobody sees here
        ({"machine": "another", "pid": 1}, SILENCE_S + 60, False),
        ({}, 0.0, True),  # this process, of the original
        ({}, SILENCE_S + 60, False),
        ({"pid": 2**40}, 0.0, False),
    ],
    ids=["elsewhere", "elsewhere, silent", "here", "here, silent", "dead"],
)
def test_a_run_that_gives_signs_of_life_works_in_the_workspace(
    who: dict[str, object],
    silent: float,
    works: bool,
    original: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signs = {
        PROCESS: json.dumps(process_info() | who),
        BEAT: f"{time.time() - silent:.0f}",
    }
    Tracker(original, "x").start("b", signs)
    copy = copied(original, "copy")
    before = dump(copy)
    monkeypatch.setattr(relocation, "_TIMEOUT_S", 0.2)
    existing_client(copy)
    assert (dump(copy) == before) == works
    if works:
        with pytest.raises(RetryableError, match="and a command works in it: try again"):
            existing_client(copy, writes=True)
        assert dump(copy) == before


def test_readers_wait_once_in_a_process(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, slept = copied(original, "copy"), list[float]()
    monkeypatch.setattr(relocation, "_TIMEOUT_S", 0.2)
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: slept.append(seconds) or sleep(seconds))
    with exclusive_lock(copy / "locks" / "model-gan", "held"):
        existing_client(copy)
        assert slept
        slept.clear()
        existing_client(copy)
        assert slept == []
        with pytest.raises(RetryableError):
            existing_client(copy, writes=True)
        assert slept
    existing_client(copy)
    assert same_but_for_the_place(copy, original)


def test_an_evaluation_waits_for_others_before_it_locks(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = copied(original, "copy")
    monkeypatch.setattr(relocation, "_TIMEOUT_S", 0.2)
    schedule = Schedule("n", "gan", "0 3 * * *", workspace=str(copy))
    with (
        exclusive_lock(copy / "locks" / "model-gan", "held"),
        pytest.raises(RetryableError, match="and a command works in it: try again"),
    ):
        drift.evaluate(schedule, "2026-11-22", lambda *_: None)
    assert not (copy / "locks" / "schedule-n").exists()
