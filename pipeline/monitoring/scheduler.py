"""Run a schedule: start a process to evaluate each partition when it is due."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from apscheduler.schedulers.background import BackgroundScheduler

from pipeline.monitoring.schedule import Schedule, latest

_CLOSING_TIMEOUT_S = 30.0
"""Seconds that an interrupted evaluation may take to close its runs."""


def keep(path: Path, schedule: Schedule, say: Callable[[str], None]) -> None:
    """Evaluate each partition when it is due, until Ctrl-C, which also ends a running evaluation.

    Evaluations run one at a time: partitions that are due meanwhile are skipped. After the machine
    slept, only the last partition that was due is evaluated.
    """
    running: list[subprocess.Popen[bytes]] = []
    starting, closed = threading.Lock(), threading.Event()

    def fire() -> None:
        partition = latest(schedule, datetime.now(UTC))
        with starting:
            if closed.is_set():
                return
            say(f"{partition} is due")
            running[:] = [_start(path, partition)]
        if (code := running[0].wait()) not in (0, 130):
            say(f"{partition} failed with exit code {code}: --partition {partition} does it again")

    scheduler = BackgroundScheduler(timezone=schedule.zone)
    scheduler.add_job(
        fire,
        schedule.trigger,
        name=schedule.name,
        max_instances=1,
        coalesce=True,
        misfire_grace_time=None,
    )
    try:
        _run(scheduler, schedule, say)
    finally:
        closed.set()
        if scheduler.running:
            scheduler.shutdown(wait=False)
        with starting:  # a fire() that began earlier has started its process
            pass
        for process in running:
            _interrupt(process)


def _run(scheduler: BackgroundScheduler, schedule: Schedule, say: Callable[[str], None]) -> None:
    """Run the scheduler until Ctrl-C, and then raise ``KeyboardInterrupt``.

    Until then Ctrl-C sets an event: as an exception, it could be lost in a callback.
    """
    upcoming = schedule.trigger.get_next_fire_time(None, datetime.now(UTC))
    next_time = f"{upcoming:%Y-%m-%dT%H:%M}, {schedule.timezone}"
    interrupted = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    try:
        say(f"{schedule.name}: next at {next_time}; Ctrl-C ends it")
        scheduler.start()
        while not interrupted.wait(1.0):
            pass
    finally:
        signal.signal(signal.SIGINT, previous)
    raise KeyboardInterrupt


def _start(path: Path, partition: str) -> "subprocess.Popen[bytes]":
    """Start ``bngan schedule`` for a partition, in a new process with the same code."""
    command = [sys.executable, "-P", "-m", "pipeline", "schedule", str(path.absolute())]
    here = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    # In its own session the process gets Ctrl-C only from this one, and only once.
    return subprocess.Popen(  # noqa: S603 (ours, and no shell)
        [*command, "--partition", partition],
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,
    )


def _interrupt(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGINT)
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_CLOSING_TIMEOUT_S)
    finally:  # a second Ctrl-C leaves no process behind
        process.kill()
