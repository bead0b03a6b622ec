"""``bngan`` as a person starts it, but with little patience, and a clock that can be moved."""

import os
import time
from pathlib import Path

PATIENCE, CLOCK = "FAULTS_PATIENCE", "FAULTS_CLOCK"
"""Environment: seconds to wait for a server that is away; a file with how wrong the clock is."""


def _move_the_clock(file: Path) -> None:
    right = time.time

    def wrong() -> float:
        try:
            return right() + float(file.read_text())
        except (OSError, ValueError):
            return right()

    time.time = wrong


if __name__ == "__main__":
    _move_the_clock(Path(os.environ[CLOCK]))
    from pipeline.cli import app
    from pipeline.tracking import async_tracker as patient

    patient.ANSWER_TIMEOUT_S = float(os.environ[PATIENCE])
    app()
