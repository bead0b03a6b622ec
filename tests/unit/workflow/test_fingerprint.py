"""Manifests and fingerprints: what decides whether a stage runs again, and what it says then."""

import fcntl
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bngan.serialization.manifest import (
    atomic_folder,
    damage,
    outputs_digest,
    read_manifest,
    scratch_folder,
    sweep_drafts,
    write_manifest,
)
from pipeline.config.loader import load_config
from pipeline.workflow.fingerprint import Fingerprint, _read, code_of, fingerprint
from pipeline.workflow.runner import STAGES

DIGITS = Path(__file__).parents[3] / "configs" / "digits.yaml"


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.npy").write_bytes(b"data")
    (tmp_path / "sub" / "b.json").write_text("{}")
    write_manifest(tmp_path, {"n": 1})
    return tmp_path


def test_untouched_outputs_verify(folder) -> None:
    assert damage(folder) is None
    assert read_manifest(folder)["summary"] == {"n": 1}


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda f: (f / "a.npy").write_bytes(b"dat!"), "output altered"),
        (lambda f: (f / "a.npy").write_bytes(b"longer data"), "output altered"),
        (lambda f: (f / "sub" / "b.json").unlink(), "output missing"),
        (lambda f: (f / "manifest.json").unlink(), "no outputs"),
        (lambda f: (f / "manifest.json").write_text("{"), "manifest altered"),
    ],
)
def test_harm_is_noticed_and_named(folder, harm, reason) -> None:
    harm(folder)
    assert str(damage(folder)).startswith(reason)


def test_a_killed_process_leaves_nothing_behind_for_long(tmp_path) -> None:
    for name in ("abandoned", "living"):
        (tmp_path / f".x.tmp-{name}").mkdir()
    lock = os.open(tmp_path / ".x.tmp-living", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with atomic_folder(tmp_path / "y", {"n": 1}) as draft:
        (draft / "a").write_text("a")
    os.close(lock)
    assert {path.name for path in tmp_path.iterdir()} == {"y", ".x.tmp-living"}
    assert damage(tmp_path / "y") is None
    with pytest.raises(KeyError), atomic_folder(tmp_path / "y", {"n": 2}):
        raise KeyError
    assert read_manifest(tmp_path / "y")["summary"] == {"n": 1}
    with atomic_folder(tmp_path / "y", {"n": 3}):
        pass
    assert read_manifest(tmp_path / "y") == {"files": {}, "summary": {"n": 3}}


def make_and_sweep(parent: Path, seconds: float) -> int:
    made, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        with scratch_folder(parent, "x") as draft:
            (draft / "file").touch()
        made += 1
    return made


def test_neighbours_do_not_sweep_what_is_only_just_made(tmp_path) -> None:
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(make_and_sweep, [tmp_path] * 3, [2.0] * 3))
    assert min(made) > 10
    assert list(tmp_path.iterdir()) == []


def test_a_kill_in_the_middle_of_a_replacement_loses_nothing(tmp_path) -> None:
    with atomic_folder(tmp_path / "y", {"n": 1}):
        pass
    script = (
        "import os, pathlib; from bngan.serialization.manifest import atomic_folder\n"
        "rename, Path = pathlib.Path.rename, pathlib.Path\n"
        "Path.rename = lambda a, b: rename(a, b) if b.name != 'y' else os._exit(9)\n"
        f"with atomic_folder(Path({str(tmp_path / 'y')!r}), {{'n': 2}}): pass"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 9
    assert not (tmp_path / "y").exists()
    sweep_drafts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["y"]
    assert read_manifest(tmp_path / "y")["summary"] == {"n": 1}
    assert damage(tmp_path / "y") is None


def test_a_digest_covers_the_files_that_match(folder) -> None:
    arrays, everything = outputs_digest(folder, ("*.npy",)), outputs_digest(folder, ("*",))
    assert arrays != everything
    (folder / "sub" / "b.json").write_text("[]")
    write_manifest(folder, {"n": 2})
    assert outputs_digest(folder, ("*.npy",)) == arrays
    assert outputs_digest(folder, ("*",)) != everything


def test_a_difference_is_told_in_words() -> None:
    before = Fingerprint({"bngan.training.losses": "1"}, {"train.lr": 0.1}, {"prepare": "x"})
    after = replace(before, config={"train.lr": 0.2})
    assert after.difference(before) == "config changed: train.lr 0.1 -> 0.2"
    assert after.value != before.value
    both = replace(before, code={"bngan.training.losses": "2"}, inputs={"prepare": "y"})
    assert both.difference(before) == "inputs changed: prepare; code changed: bngan.training.losses"


def stage(name: str):
    return next(s for s in STAGES if s.name == name)


def test_code_is_what_a_stage_imports_directly_or_not() -> None:
    train, prepare = code_of(stage("train")), code_of(stage("prepare"))
    needed = (
        *(
            "training.trainer",
            "batchnorm.layer",
            "training.losses",
            "networks.dcgan",
            "numerics.rng",
        ),
    )
    assert {f"bngan.{name}" for name in needed} <= set(train)
    assert {"pipeline.workflow.stages.train", "torch"} <= set(train)
    assert {"bngan.data.sources", "datasets"} <= set(prepare)
    assert not {"bngan.training.trainer", "bngan.training.losses", "torch"} & set(prepare)
    assert {"pipeline.reports.run_report", "pipeline.reports.plots"} <= set(
        code_of(stage("evaluate"))
    )
    served = {
        "pipeline.serving.model_interface",
        "pipeline.serving.pyfunc_model",
        "bngan.generation.sampler",
    }
    assert served <= set(code_of(stage("register")))


def test_what_cannot_change_a_result_does_not_count_as_code(tmp_path) -> None:
    def digest_of(text: str) -> str:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        return _read(path).digest

    plain = digest_of("def f(x):\n    return x + 1\n")
    assert (
        digest_of('"""Doc."""\n\n\ndef f(x):  # why\n    """More."""\n    return x + 1\n') == plain
    )
    assert digest_of("def f(x):\n    return x + 2\n") != plain


def shape(name: str, *overrides: str) -> Fingerprint:
    bare = replace(stage(name), inputs={})
    return fingerprint(bare, load_config(DIGITS, overrides), {})


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("train.lr=0.5", {"train"}),
        ("model.latent_dim=3", {"train"}),
        ("seed=9", {"train"}),
        ("train.num_workers=7", set()),
        ("train.accelerator=cpu", set()),
        ("workspace=/elsewhere", set()),
        ("data.test=0.3", {"prepare"}),
        ("data.max_download_gb=5", set()),
        ("evaluate.protocol=fid90_test", {"reference", "evaluate"}),
        ("register.model=other", {"register"}),
    ],
)
def test_a_key_concerns_the_stages_that_read_it(override, stages) -> None:
    changed = {s.name for s in STAGES if shape(s.name).value != shape(s.name, override).value}
    assert changed == stages


def test_a_folder_of_images_is_known_by_its_files(tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    before = shape("prepare", f"data.path={tmp_path}")
    assert shape("prepare", f"data.path={tmp_path}").value == before.value
    (tmp_path / "b.png").write_bytes(b"2")
    assert shape("prepare", f"data.path={tmp_path}").difference(before) == "inputs changed: data"
