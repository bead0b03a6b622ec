"""How long commands take to do what costs nothing: start.

``python -m tests.benchmarks.startup``; CPU-seconds, of the command and what it starts.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.rates import Row, table

CONFIG = Path(__file__).parents[2] / "configs" / "digits.yaml"
TIMES = 3


def _seconds(*command: str) -> float:
    found = []
    for _ in range(TIMES):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "pipeline", *command], check=True, capture_output=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return statistics.median(found)


def rows() -> list[Row]:
    """Help, a plan, and a run that finds everything done."""
    with tempfile.TemporaryDirectory(prefix="bngan-") as folder:
        given = [str(CONFIG), f"workspace={folder}", "train.images=2000", "train.score_every=1000"]
        subprocess.run(
            [sys.executable, "-m", "pipeline", "run", *given], check=True, capture_output=True
        )
        limits = {
            "bngan --help": (_seconds("--help"), 0.4),
            "bngan plan, everything done": (_seconds("plan", *given), 3.0),
            "bngan run, everything done": (_seconds("run", *given), 3.0),
        }
    return [Row(what, seconds, "CPU-s", most=limit) for what, (seconds, limit) in limits.items()]


if __name__ == "__main__":
    print(table(rows()))
