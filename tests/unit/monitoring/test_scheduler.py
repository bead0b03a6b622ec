"""What becomes of evaluations when whoever keeps the schedule leaves."""

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.monitoring import scheduler as clock
from pipeline.monitoring.schedule import Schedule

SCHEDULE = Schedule(name="nightly", model="model", cron="0 3 * * *")


class Scheduler:
    """Ctrl-C comes once ``due`` has returned."""

    due: Callable[[Callable[[], None]], None]
    running = False

    def __init__(self, **_: Any) -> None:
        pass

    def add_job(self, fire: Callable[[], None], *_: Any, **__: Any) -> None:
        self.fire = fire

    def start(self) -> None:
        type(self).due(self.fire)
        raise KeyboardInterrupt


def sleeper() -> "subprocess.Popen[bytes]":
    """Deaf to Ctrl-C, and so when it says it."""
    process = subprocess.Popen(["sh", "-c", "trap '' INT; echo; sleep 60"], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    return process


def keep(monkeypatch: pytest.MonkeyPatch, due: Callable[[Callable[[], None]], None]) -> None:
    monkeypatch.setattr(Scheduler, "due", staticmethod(due), raising=False)
    monkeypatch.setattr(clock, "BackgroundScheduler", Scheduler)
    monkeypatch.setattr(clock, "_CLOSING_TIMEOUT_S", 0.1)
    with pytest.raises(KeyboardInterrupt):
        clock.keep(Path("s.yaml"), SCHEDULE, lambda _: None)


def test_nothing_starts_once_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    started, fires = list[str](), list[Callable[[], None]]()
    monkeypatch.setattr(clock, "_start", lambda _, partition: started.append(partition))
    keep(monkeypatch, fires.append)
    fires[0]()
    assert started == []


def test_what_is_just_starting_is_interrupted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    starting, processes = threading.Event(), list["subprocess.Popen[bytes]"]()

    def start(*_: Any) -> "subprocess.Popen[bytes]":
        starting.set()
        processes.append(sleeper())
        return processes[0]

    def due(fire: Callable[[], None]) -> None:
        threading.Thread(target=fire, daemon=True).start()
        starting.wait()

    monkeypatch.setattr(clock, "_start", start)
    keep(monkeypatch, due)
    assert processes[0].wait(10) == -9


def test_a_second_ctrl_c_does_not_leave_it_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    process, wait = sleeper(), subprocess.Popen.wait

    def impatient(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "wait", impatient)
    with pytest.raises(KeyboardInterrupt):
        clock._interrupt(process)
    assert wait(process, 10) == -9
