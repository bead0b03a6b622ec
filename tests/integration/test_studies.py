"""A study as a user starts it: as Ray Tune trials, killed in the middle, and again."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from bngan.data.images import to_pil
from tests.commands import bngan_process, running
from tests.environment import ROOT

STUDY = """
name: small
tasks: [{root}/configs/digits.yaml, ring8]
control: none
arms:
  none: [model.generator.norm=none]
  batch: [model.generator.norm=batch]
common: [train.images=6400, train.penalty=none, model.generator.depth=2, model.discriminator.depth=2]
axes: {{train.lr: [2.0e-4, 1.0e-3]}}
tune: true
tuning_seeds: 1
seeds: 3
workspace: {workspace}
"""
TRIALS = 2 * 2 * (2 + 3)


@pytest.mark.slow
def test_a_study_that_is_killed_goes_on_and_is_found_when_done(
    tmp_path: Path, digits: tuple[Any, Any]
) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(STUDY.format(root=ROOT, workspace=tmp_path / "runs"))
    trials = tmp_path / "runs" / "studies" / "trials"
    for number, (image, label) in enumerate(zip(*digits, strict=True)):
        path = tmp_path / "images" / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        to_pil(image).save(path)
    # Workers run in a folder of their own.
    data = f"data.path={os.path.relpath(tmp_path / 'images')}"
    driver = running("study", file, data, stderr=subprocess.DEVNULL)
    while driver.poll() is None and len(list(trials.glob("*.json"))) < 3:
        time.sleep(0.1)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(timeout=300) == 130
    before = {path.name: path.stat().st_mtime_ns for path in trials.glob("*.json")}
    assert 3 <= len(before) < TRIALS
    found = json.loads(bngan_process("study", str(file), data, "--json").stdout)
    after = {path.name: path.stat().st_mtime_ns for path in trials.glob("*.json")}
    assert len(after) == TRIALS
    assert {name: after[name] for name in before} == before
    assert [row["trials"] for row in found["arms"]] == [3, 3, 3, 3]
    assert "Effects" in Path(found["report"]).read_text()
    effects = json.loads((Path(found["report"]).parent / "effects.json").read_text())
    assert {effect["task"] for effect in effects["declared"]} == {"digits", "ring8"}
    told = bngan_process("study", str(file), data).stdout
    assert all(line in told for line in found["findings"])
    assert f"0 trainings, {TRIALS} found" in told
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.arm = 'batch'")
    assert len(runs) == TRIALS // 2
    assert all("final_fid" in r.data.metrics or "final_modes" in r.data.metrics for r in runs)
