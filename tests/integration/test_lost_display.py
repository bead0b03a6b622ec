"""Runs whose display is lost on the way: they are done all the same."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from pipeline.tracking.tracker import existing_client
from tests.commands import DIGITS, PROGRAM, running

SMALL = ("train.images=2000", "train.score_every=1000", "train.batch_size=64")


def require_done(workspace: Path) -> None:
    """Check that the run came to its end, and registered a version."""
    client = existing_client(workspace)
    assert str(client.get_model_version_by_alias("bngan-digits", "champion").version) == "1"
    experiments = [each.experiment_id for each in client.search_experiments()]
    assert {run.info.status for run in client.search_runs(experiments)} == {"FINISHED"}


@pytest.mark.full
@pytest.mark.parametrize(
    ("streams", "code"),
    [
        ("2>&1 | head -1", 0),  # the display and the result have lost their reader
        (">/dev/full 2>&-", 3),  # the result is lost as well
    ],
)
def test_a_display_that_is_lost_ends_no_run(streams: str, code: int, tmp_path: Path) -> None:
    words = (*PROGRAM, "run", DIGITS, f"workspace={tmp_path}", *SMALL, streams)
    line = ("bash", "-o", "pipefail", "-c", " ".join(words))
    done = subprocess.run(line, timeout=600, capture_output=True)
    assert done.returncode == code, done.stderr
    require_done(tmp_path)


@pytest.mark.full
def test_a_reader_that_sleeps_ends_no_run(tmp_path: Path) -> None:
    """As a pager that nobody scrolls."""
    _, writer = os.pipe()
    os.set_blocking(writer, False)
    while not is_full(writer):
        pass
    os.set_blocking(writer, True)
    command = ("run", DIGITS, f"workspace={tmp_path}", *SMALL)
    process = running(*command, stderr=writer, stdout=subprocess.DEVNULL)
    try:
        assert process.wait(600) == 0
    finally:
        process.send_signal(signal.SIGKILL)
    require_done(tmp_path)


@pytest.mark.full
def test_a_terminal_that_goes_away_closes_the_runs(tmp_path: Path) -> None:
    """Ray's processes hear of it neither: without them the command would end at once."""
    master, slave = os.openpty()

    def lead() -> None:
        os.setsid()
        os.close(os.open(os.ttyname(slave), os.O_RDWR))  # makes it the controlling terminal

    command = ("run", DIGITS, f"workspace={tmp_path}", "train.images=2000000")
    process = running(*command, stdin=slave, stdout=slave, stderr=slave, preexec_fn=lead)
    os.close(slave)
    try:
        with open(master, "rb", buffering=0) as terminal:
            shown = b""
            while b"loss D" not in shown:
                shown = shown[-100:] + terminal.read(1000)
        assert process.wait(120) == 143
    finally:
        process.send_signal(signal.SIGKILL)
    client = existing_client(tmp_path)
    experiments = [each.experiment_id for each in client.search_experiments()]
    ended = [run.info.status for run in client.search_runs(experiments)]
    assert sorted(ended) == ["FINISHED", "FINISHED", "KILLED", "KILLED"]


def is_full(writer: int) -> bool:
    """Write a block into a pipe that nobody reads; return whether there was no room."""
    try:
        os.write(writer, bytes(4096))
    except BlockingIOError:
        return True
    return False
