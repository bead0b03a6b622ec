"""Follow runs: send signs of life, find the dead among those that say RUNNING, and close them."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from pipeline.tracking.life import BEAT, HEARTBEAT_S, last_sign, lives, process_in, signs_of_life
from pipeline.tracking.tracker import Tracker, all_runs, existing_client, experiment_names

_LAST_BEAT_TIMEOUT_S = 1.0
"""Seconds that the end of a run waits for the sign of life that is under way."""
_STATES = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "interrupted"}


@contextmanager
def invocation(tracker: Tracker, name: str, tags: Mapping[str, str]) -> Iterator[str]:
    """Open the run of a command, yield its id, and close it when the block ends.

    It names its process from the first moment, so that ``reap`` knows when that is dead.
    """
    run_id = tracker.start(name, {**tags, **signs_of_life()})
    with run_lifecycle(tracker, run_id), _heartbeat(tracker, run_id):
        yield run_id


@contextmanager
def _heartbeat(tracker: Tracker, run_id: str) -> Iterator[None]:
    """Tag the run with the time, every ``HEARTBEAT_S`` seconds of the block."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_S):
            # A server that is away must not end the run. The client is used directly, not the queue of
            # the tracker: a late sign of life is of no use.
            with suppress(MlflowException, OSError):
                tracker.client.set_tag(run_id, BEAT, f"{time.time():.0f}")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=_LAST_BEAT_TIMEOUT_S)


@contextmanager
def run_lifecycle(tracker: Tracker, run_id: str) -> Iterator[None]:
    """Close the run as FINISHED, FAILED or KILLED when the block ends."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        tracker.finish(run_id, "KILLED")
        raise
    except BaseException:
        tracker.finish(run_id, "FAILED")
        raise
    try:
        tracker.finish(run_id, "FINISHED")
    except (KeyboardInterrupt, SystemExit):  # it may wait long for the server
        tracker.finish(run_id, "KILLED")
        raise


@dataclass
class RunState:
    """Describe the state of one invocation."""

    run_id: str
    experiment: str
    state: str
    """running, died, finished, failed or interrupted."""
    started: str
    """UTC."""
    seconds: float
    """Seconds from the start to the end; for a dead run, to its last sign of life."""
    process: str
    """Process, user and host that run or ran it."""
    stages: dict[str, str]
    """State by stage: ran, cached, failed, interrupted, or the run's running or died."""


def states(workspace: Path, last: int = 10) -> list[RunState]:
    """Return the ``last`` invocations and scheduled evaluations of the workspace, newest first.

    Raises:
        UserError: if there is no store.
    """
    client = existing_client(workspace)
    names = experiment_names(client)
    runs = client.search_runs(
        list(names),
        "tags.`bngan.kind` LIKE '%'",  # stages have none
        max_results=last,
        order_by=["attributes.start_time DESC"],
    )
    return [_state(client, run, names[run.info.experiment_id]) for run in runs]


def reap(workspace: Path) -> list[RunState]:
    """Close as KILLED every dead run that says RUNNING, with its stages, and return the dead runs."""
    client, dead = existing_client(workspace, writes=True), list[RunState]()
    names = experiment_names(client)
    for seen in list(all_runs(client, "attributes.status = 'RUNNING'")):
        if "bngan.kind" not in seen.data.tags or not died(seen):
            continue
        run = client.get_run(seen.info.run_id)  # it may have ended meanwhile, and its process then
        if died(run):
            dead.append(_state(client, run, names[run.info.experiment_id]))
            for part in (*_open_parts(client, run), run):
                client.set_tag(part.info.run_id, "bngan.reaped", _utc(time.time()))
                client.set_terminated(part.info.run_id, "KILLED")
    return dead


def _state(client: MlflowClient, run: Run, experiment: str) -> RunState:
    tags, alive = run.data.tags, "died" if died(run) else "running"
    state = _STATES.get(run.info.status, alive)
    stages = {
        key.removeprefix("stage."): value for key, value in tags.items() if key.startswith("stage.")
    }
    if state in ("running", "died"):
        parts = [part.data.tags for part in _open_parts(client, run)]
        stages |= {tags["stage"]: alive for tags in parts if "stage" in tags}
    started = run.info.start_time / 1000
    ended = run.info.end_time / 1000 if run.info.end_time else last_sign(tags, started)
    seconds = (time.time() if state == "running" else ended) - started
    return RunState(
        run.info.run_id,
        experiment,
        state,
        _utc(started),
        round(max(seconds, 0), 1),
        process_of(run),
        stages,
    )


def process_of(run: Run) -> str:
    """Return the process, user and host of an invocation in words."""
    process = process_in(run.data.tags)
    words = (f"{word} {process.get(key)}" for word, key in (("of", "user"), ("on", "host")))
    return " ".join([f"process {process['pid']}", *words]) if process else "unknown"


def _open_parts(client: MlflowClient, run: Run) -> list[Run]:
    """Return the open runs nested under a run: its stages, or a study's trials."""
    condition = f"tags.mlflow.parentRunId = '{run.info.run_id}' and attributes.status = 'RUNNING'"
    return list(client.search_runs([run.info.experiment_id], condition))


def died(run: Run) -> bool:
    """Return whether a run says RUNNING and its process is dead or silent."""
    return run.info.status == "RUNNING" and not lives(run.data.tags, run.info.start_time / 1000)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
