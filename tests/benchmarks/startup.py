"""How long commands take to do what costs nothing, start, and a run to its first training step.

``python -m tests.benchmarks.startup``; CPU-seconds are of the command and what it starts. The first
step is over when its record is with the run's process.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.rates import Row, table
from tests.benchmarks.tax import told_at

CONFIG = Path(__file__).parents[2] / "configs" / "digits.yaml"
TIMES = 3


def _run(*command: str) -> bytes:
    """A command of bngan's; what it prints on standard output."""
    whole = [sys.executable, "-m", "pipeline", *command]
    return subprocess.run(whole, check=True, capture_output=True).stdout


def _seconds(*command: str) -> float:
    found = []
    for _ in range(TIMES):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _run(*command)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return statistics.median(found)


def _first_step(folder: str, given: list[str]) -> float:
    """Wall seconds from the command to what the first step's record says; another seed each time."""
    found = []
    for seed in range(1, TIMES + 1):
        started = time.time()
        told = json.loads(_run("run", *given, f"seed={seed}", "--to", "train", "--json"))
        found.append(min(told_at(folder, told["run_id"], "loss_d")) - started)
    return statistics.median(found)


def rows() -> list[Row]:
    """Help, a plan, a run that finds everything done, and one that trains."""
    with tempfile.TemporaryDirectory(prefix="bngan-") as folder:
        # A record after every tenth of score_every: after the first step.
        given = [str(CONFIG), f"workspace={folder}", "train.images=1280", "train.score_every=1280"]
        _run("run", *given)
        limits = {
            "bngan --help": (_seconds("--help"), 0.4),
            "bngan plan, everything done": (_seconds("plan", *given), 3.0),
            "bngan run, everything done": (_seconds("run", *given), 3.0),
        }
        first = _first_step(folder, given)
    found = [Row(what, seconds, "CPU-s", most=limit) for what, (seconds, limit) in limits.items()]
    return [*found, Row("bngan run to the first step, Ray not running", first, "s", most=15.0)]


if __name__ == "__main__":
    print(table(rows()))
