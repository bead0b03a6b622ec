"""The whole pipeline as a user runs it: a process, real Ray, real MLflow, real digits."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from pipeline.cli import preflight
from pipeline.cli.preflight import obstacles
from pipeline.config.loader import load_config
from pipeline.core.lock import exclusive_lock
from tests.commands import DIGITS, bngan, running
from tests.integration.conftest import TINY, Trained, run, statuses


def test_five_stages_run_and_say_what_came_out(original: Trained) -> None:
    first = original.result
    assert list(first["stages"]) == ["prepare", "reference", "train", "evaluate", "register"]
    assert statuses(first) == "ran ran ran ran ran"
    assert {stage["reason"] for stage in first["stages"].values()} == {"first run"}
    assert first["scores"]["fid"] > first["scores"]["floor"]["fid"] > 0
    assert first["model"] == {
        "name": "bngan-digits",
        "version": "1",
        "alias": "champion",
        "uri": "models:/bngan-digits/1",
    }
    assert Image.open(first["grid"]).size[0] > 400
    report = Path(first["report"]).read_text()
    assert f"{first['scores']['fid']:.2f}" in report
    assert "http" not in report


def test_runs_are_nested_tagged_and_hold_curves_and_pictures(original: Trained) -> None:
    first, client = original.result, original.client
    parent = client.get_run(first["run_id"])
    nested = client.search_runs(
        [parent.info.experiment_id], f"tags.mlflow.parentRunId = '{parent.info.run_id}'"
    )
    by_stage = {run.data.tags["stage"]: run for run in nested}
    assert set(by_stage) == set(first["stages"])
    for run_ in nested:
        assert run_.info.status == "FINISHED"
        assert {"fingerprint", "fp.code", "fp.config", "fp.inputs"} <= set(run_.data.tags)
    train = by_stage["train"].info.run_id
    curve = client.get_metric_history(train, "loss_d")
    assert [point.step for point in curve][-1] == 8000
    assert len(client.get_metric_history(train, "fid_select")) == 2
    assert len(client.get_metric_history(train, "batch_mate_sensitivity")) == 2
    assert len(client.get_metric_history(train, "running_distance/1x1")) == 2
    assert len(client.list_artifacts(train, "samples")) == 2
    names = {file.path for file in client.list_artifacts(by_stage["evaluate"].info.run_id)}
    assert {"report.html", "grid.png", "losses.png", "scores.json"} <= names


def test_the_same_again_is_all_cached_without_ray(trained: Trained) -> None:
    # Joining this cluster would fail: nobody is there.
    again = run(trained.workspace, RAY_ADDRESS="127.0.0.1:1")
    assert statuses(again) == "cached cached cached cached cached"
    for key in ("scores", "model", "report", "grid"):
        assert again[key] == trained.result[key]


def test_a_change_concerns_what_follows_and_plan_says_so_before(trained: Trained) -> None:
    arguments = (DIGITS, f"workspace={trained.workspace}", *TINY)
    told = bngan("plan", *arguments, "train.lr=5e-4").stdout.splitlines()
    actions = {line.split()[0]: line.strip().split(maxsplit=2)[1:] for line in told}
    assert actions["prepare"][0] == actions["reference"][0] == "cached"
    assert actions["train"] == ["run", "config changed: train.lr 0.001 -> 0.0005"]
    assert actions["evaluate"] == ["depends", "on what train gives"]
    assert all(
        line.split()[1] == "cached" for line in bngan("plan", *arguments).stdout.splitlines()
    )


def test_workers_and_disk_are_looked_at_for_what_is_to_be_trained(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*overrides: str) -> list[str]:
        given = [f"workspace={trained.workspace}", *TINY, "train.num_workers=9999", *overrides]
        return [problem.key for problem in obstacles(load_config(Path(DIGITS), given))]

    room_for_all_but_checkpoints = SimpleNamespace(free=preflight._ROOM)
    monkeypatch.setattr("shutil.disk_usage", lambda _: room_for_all_but_checkpoints)
    assert lacking() == []
    assert lacking("train.lr=5e-4") == ["train.num_workers", "workspace"]
    assert lacking("train.images=16000") == ["train.num_workers"]
    (made,) = trained.workspace.glob("stages/train/*")
    shutil.rmtree(made)  # as after an update of the code; the checkpoints are there
    assert lacking() == []
    (reference,) = trained.workspace.glob("stages/reference/*")
    shutil.rmtree(reference)
    assert lacking() == ["train.num_workers", "workspace"]


@pytest.mark.full
def test_a_longer_budget_continues_the_training_that_is_there(trained: Trained) -> None:
    workspace, client = trained.workspace, trained.client
    longer = run(workspace, "train.images=16000")
    assert statuses(longer) == "cached cached ran ran ran"
    assert longer["model"]["version"] == "2"
    assert longer["model"]["alias"] in ("champion", "challenger")
    parent = client.get_run(longer["run_id"])
    (train,) = client.search_runs(
        [parent.info.experiment_id],
        f"tags.mlflow.parentRunId = '{parent.info.run_id}' and tags.stage = 'train'",
    )
    assert train.data.metrics["resumed_from"] == 8000
    steps = [point.step for point in client.get_metric_history(train.info.run_id, "loss_d")]
    # The whole course, a point on the first batch past every 400 images.
    assert sorted(steps) == [-(-400 * i // 64) * 64 for i in range(1, 41)]
    better = longer["model"]["alias"] == "champion"
    champion = client.get_model_version_by_alias("bngan-digits", "champion")
    assert str(champion.version) == ("2" if better else "1")
    # The first configuration again: cached, with the alias its version has by now.
    alias = run(workspace, RAY_ADDRESS="127.0.0.1:1")["model"]["alias"]
    assert alias == ("previous_champion" if better else "champion")
    # A training cannot be taken back.
    shorter = ("run", DIGITS, f"workspace={workspace}", *TINY, "train.images=2000")
    assert "has seen 16,000 images already" in bngan(*shorter, code=2).stderr


@pytest.mark.timeout(1800)  # two trainings: minutes each on a machine that has other work
def test_a_driver_that_is_killed_is_followed_by_one_that_ends_the_same(
    original: Trained, tmp_path: Path
) -> None:
    arguments = ["run", DIGITS, f"workspace={tmp_path}", *TINY]
    driver = running(
        *arguments,
        "train.checkpoint_every_seconds=0.01",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while driver.poll() is None and not list(tmp_path.glob("training/*/images-*")):
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    # Somebody else at it: told who, and nothing else happens.
    (training,) = (tmp_path / "training").iterdir()
    with exclusive_lock(training, "training"):
        busy = bngan(*arguments, code=3).stderr
    assert f"is locked by process {os.getpid()} (" in busy
    told = bngan(*arguments, "--to", "train").stderr
    assert re.search(r"continues from [\d,]+ of 8,000 images|finished already", told)
    (undisturbed,), (ours,) = (
        list(where.glob("stages/train/*")) for where in (original.workspace, tmp_path)
    )
    for name in ("generator.safetensors", "generator.json"):
        assert (undisturbed / name).read_bytes() == (ours / name).read_bytes()


def test_what_other_code_began_is_not_continued_unawares(trained: Trained) -> None:
    (training,) = (trained.workspace / "training").iterdir()
    (origin,) = json.loads((training / "origin.json").read_text())
    origin["code"]["bngan.training.losses"] = "another"
    (training / "origin.json").write_text(json.dumps([origin]))
    arguments = ["run", DIGITS, f"workspace={trained.workspace}", *TINY]
    arguments += ["--force", "train", "--to", "train"]
    refused = bngan(*arguments, code=2).stderr
    assert "of other code or versions: code changed: bngan.training.losses. Use" in refused
    told = bngan(*arguments, "--allow-mismatch").stderr
    assert "goes on although code changed: bngan.training.losses" in told
    assert "finished already, 8,000 images seen" in told


def test_the_model_keeps_its_contract(original: Trained) -> None:
    workspace = original.workspace
    mlflow.set_tracking_uri(f"sqlite:///{workspace}/mlflow.db")
    try:
        model = mlflow.pyfunc.load_model("models:/bngan-digits/1")
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]

    def images(*indices: int, **params: Any) -> np.ndarray:
        found: np.ndarray = model.predict({"index": np.array(indices, np.int64)}, params=params)
        return found

    many = images(*range(20), seed=3)
    assert many.shape == (20, 8, 8, 1)
    assert many.dtype == np.uint8
    assert np.abs(images(13, seed=3).astype(int) - many[13].astype(int)).max() <= 1
    np.testing.assert_array_equal(images(*range(20), seed=3), many)
    assert not np.array_equal(images(*range(20), seed=4), many)
    assert images(*range(20), seed=3, truncation=0.1).std(axis=0).mean() < many.std(axis=0).mean()
    stored = [p for p in workspace.rglob("*") if p.suffix in (".pkl", ".pickle", ".pt", ".pth")]
    assert stored == []


def test_sampling_from_the_command_line(original: Trained, tmp_path: Path) -> None:
    workspace = original.workspace
    common = ("sample", "models:/bngan-digits/1", "--workspace", str(workspace))
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        bngan(*common, "--seed", seed, "-o", str(tmp_path / f"{name}.png"))
    content = {name: (tmp_path / f"{name}.png").read_bytes() for name in "abc"}
    assert content["a"] == content["b"] != content["c"]
    bngan(*common, "--count", "1", "-o", str(tmp_path / "deep" / "one.png"))
    assert Image.open(tmp_path / "deep" / "one.png").mode == "L"
    wrong = bngan("sample", "bngan-digits", "--workspace", str(workspace), code=2)
    assert "write models:/NAME@ALIAS" in wrong.stderr
    missing = bngan("sample", "models:/none@champion", "--workspace", str(workspace), code=2)
    assert "cannot load models:/none@champion" in missing.stderr


def test_altered_outputs_are_not_trusted(trained: Trained) -> None:
    grid = Path(trained.result["grid"])
    grid.write_bytes(grid.read_bytes() + b"x")
    command = ("run", DIGITS, "--json", f"workspace={trained.workspace}", *TINY)
    again = json.loads(bngan(*command).stdout)
    assert statuses(again) == "cached cached cached ran cached"
    assert again["stages"]["evaluate"]["reason"].startswith("output altered: ")


@pytest.mark.full
def test_one_step_is_checked_on_the_users_own_networks(trained: Trained) -> None:
    overrides = ("model.network=dcgan", "model.conditional=true", "model.generator.width=8")
    told = bngan("check", DIGITS, f"workspace={trained.workspace}", *overrides).stdout
    assert "2 CPU workers train what one process trains" in told
    rows = [line.split() for line in told.splitlines() if line.startswith(" ")]
    assert [row[0] for row in rows[1:]] == [
        *("discriminator", "ema", "generator", "optimizer_d", "optimizer_g")
    ]
    assert all(0 <= float(row[1]) < 1e-12 for row in rows[1:])
    assert any(float(row[2]) > 0 for row in rows[1:])


def test_mistakes_exit_with_2_before_anything_is_written(tmp_path: Path) -> None:
    for wrong in ("train.lrr=1", "train.lr=fast", "data.path=/does/not/exist"):
        done = bngan("run", DIGITS, f"workspace={tmp_path}/w", wrong, code=2)
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.strip().splitlines()) == 1
        assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_bad_data_ends_the_run_with_a_line_and_a_failed_stage(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for i in range(120):
        Image.new("RGB", (8 + i % 2, 8), (i, 0, 0)).save(images / f"{i}.png")
    arguments = [f"workspace={tmp_path}/w", f"data.path={images}", "evaluate.protocol=fid20_test"]
    done = bngan("run", DIGITS, "--json", *arguments, code=2)
    assert "error: data.image_size is not set" in done.stderr
    assert json.loads(done.stdout)["stages"]["prepare"]["status"] == "failed"
    runs = MlflowClient(f"sqlite:///{tmp_path}/w/mlflow.db").search_runs(["1"])
    assert {run.info.status for run in runs} == {"FAILED"}
