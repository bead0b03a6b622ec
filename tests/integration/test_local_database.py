"""Every command looks at the database of a workspace before MLflow does."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from pipeline.tracking import database
from pipeline.tracking.database import make_database
from tests.commands import DIGITS, bngan
from tests.databases import DATABASE
from tests.environment import ROOT

MODEL = "models:/gan@champion"
BY_WORKSPACE = {
    "status": (),
    "reap": (),
    "gc": (),
    "gc --keep": ("--keep", 1, "--delete"),
    "models": (),
    "promote": ("gan", 1),
    "rollback": ("gan",),
    "sample": (MODEL,),
    "serve": (MODEL,),
    "evaluate": (MODEL,),
    "compare": (MODEL, MODEL),
    "seen": (ROOT / "docs/images/mnist.png",),
}
"""Commands with ``--workspace``, and their arguments."""


def arguments(command: str, workspace: Path, tmp_path: Path) -> tuple[object, ...]:
    if command in BY_WORKSPACE:
        return (command.split()[0], *BY_WORKSPACE[command], "--workspace", workspace)
    if command == "schedule":
        file = tmp_path / "schedule.yaml"
        given = {"name": "x", "model": "gan", "cron": "0 3 * * *", "workspace": str(workspace)}
        file.write_text(yaml.safe_dump(given))
        return ("schedule", file, "--partition", "2026-11-20")
    if command == "study":
        return ("study", ROOT / "configs/studies/ring8.yaml", f"workspace={workspace}")
    if command == "adapt":
        return ("adapt", MODEL, ROOT / "configs/few_digits.yaml", f"workspace={workspace}")
    return (command, DIGITS, f"workspace={workspace}")


@pytest.mark.parametrize(
    "command", [*BY_WORKSPACE, "run", "plan", "check", "validate", "adapt", "schedule", "study"]
)
def test_a_command_says_in_a_line_what_is_wrong(command: str, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    (workspace / DATABASE).mkdir(parents=True)
    started = time.monotonic()
    said = bngan(*arguments(command, workspace, tmp_path), code=2)
    assert time.monotonic() - started < 60
    assert f"MLflow's database {workspace / DATABASE} is no file" in said.stderr
    told = [line for line in said.stderr.splitlines() if "error:" in line or "failed:" in line]
    assert len(told) == 1, said.stderr
    assert not [
        path for path in workspace.rglob("*") if path.is_file() and path.name != "owner.json"
    ]


def test_a_locked_database_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_LOCK_TIMEOUT_S", 0.1)
    make_database(tmp_path / DATABASE)
    with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for command in ("models", "run"):
            said = bngan(*arguments(command, tmp_path, tmp_path), code=3)
            assert f"MLflow's database {tmp_path / DATABASE} is locked by another" in said.stderr
    assert bngan("models", "--workspace", tmp_path).stdout == "no models\n"
