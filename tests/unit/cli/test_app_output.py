"""Commands whose standard output or standard error is full, closed, or left by its reader."""

import subprocess
from pathlib import Path

import pytest

from pipeline.tracking.tracker import Tracker
from tests.commands import DIGITS, PROGRAM

VERSION, WRONG = "--version", f"validate {DIGITS} trian.lr=1"
MODELS = "models --json --workspace ."
LOST = "error: standard output cannot be written ({}): the result is lost"
FULL, CLOSED = LOST.format("No space left on device"), LOST.format("Bad file descriptor")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workspace")
    Tracker(folder, "x")
    return folder


@pytest.mark.parametrize(
    ("command", "streams", "code", "said"),
    [
        # The display is lost: the exit code is what it would be.
        (VERSION, "2>/dev/full", 0, ""),
        (VERSION, "2>&-", 0, ""),
        (WRONG, "2>/dev/full", 2, ""),
        (WRONG, ">&- 2>&- <&-", 2, ""),
        ("nonsense", "2>/dev/full", 2, ""),
        # The result is lost.
        (VERSION, ">/dev/full", 3, FULL),
        (VERSION, ">&-", 3, CLOSED),
        (VERSION, ">&- 2>&-", 3, ""),
        ("models --help", ">/dev/full", 3, FULL),
        (MODELS, ">/dev/full", 3, FULL),
        (MODELS, ">&-", 3, CLOSED),
        (MODELS, "2>/dev/full", 0, ""),
        # The reader has had enough.
        (VERSION, "| true", 0, ""),
        ("models --help", "| true", 0, ""),
        (MODELS, "| true", 0, ""),
        (WRONG, "2>&1 | true", 2, ""),
    ],
)
def test_what_is_lost_decides_the_exit_code(
    command: str, streams: str, code: int, said: str, workspace: Path
) -> None:
    line = f"{' '.join(PROGRAM)} {command} {streams}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=workspace, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == bool(said)
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr
