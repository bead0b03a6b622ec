"""The benchmarks for a GPU, in a dry run on the CPU, where no workflow is installed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.benchmarks.gpu.__main__ import PARTS
from tests.benchmarks.gpu.agreement import error
from tests.benchmarks.gpu.cases import CASES
from tests.benchmarks.gpu.session import OutOfTime, Session

ROOT = Path(__file__).parents[2]
BLOCKER = """
import sys
NAMES = {"ray", "mlflow", "omegaconf", "datasets", "typer", "torch_fidelity", "apscheduler"}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NAMES:
            raise ImportError(f"{name} is not to be had")
sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def dry(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("gpu")
    (out / "sitecustomize.py").write_text(BLOCKER)
    path = os.pathsep.join([str(out), str(ROOT)])
    command = [sys.executable, "-m", "tests.benchmarks.gpu", "--dry-run", "--minutes", "9"]
    done = subprocess.run(
        [*command, "--out", str(out)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (out / "gpu.md").read_text().count("| measured |") > 20
    return json.loads((out / "gpu.json").read_text())


def test_every_part_has_rows(dry: dict[str, Any]) -> None:
    assert dry["parts"] == [name for name, _, _ in PARTS]
    for part in dry["parts"]:
        assert any(row["part"] == part for row in dry["rows"]), part


def test_no_row_failed(dry: dict[str, Any]) -> None:
    for row in dry["rows"]:
        assert row["verdict"] in ("ok", "measured", "skipped: a CPU has no graphs"), row
        assert "failed" not in map(str, row["values"].values()), row
        assert not any(str(value).startswith("failed:") for value in row["values"].values()), row


def test_the_cpu_agrees_with_itself(dry: dict[str, Any]) -> None:
    rows = [row["values"] for row in dry["rows"] if row["part"] == "2 agreement"]
    assert len(rows) >= 2 * len(CASES)
    assert all(row["weights"] == 0 and row["moved"] > 1e-3 for row in rows)


def test_an_error_is_seen() -> None:
    ours = {"g": torch.ones(4), "d": torch.tensor([3.0, 4.0])}
    theirs = {"g": torch.ones(4), "d": torch.tensor([3.0, 5.0])}
    assert error(ours, theirs) == pytest.approx(1 / 34**0.5)


def test_a_row_that_fails_or_takes_too_long_is_told(tmp_path: Path) -> None:
    session = Session(tmp_path, 0.01, torch.device("cpu"), True, {})
    session.begin("some", 1.0)
    session.attempt("wrong", lambda: {"value": 1 / 0}, needs=0)

    def slow() -> None:
        raise OutOfTime("the part's time is up")

    session.attempt("slow", slow, needs=0)
    session.attempt("late", lambda: {}, needs=60)
    found = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    verdicts = [row["verdict"].partition(":")[0] for row in found]
    assert verdicts == ["failed", "failed", "skipped"]
