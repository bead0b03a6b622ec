"""Manifests and fingerprints: what decides whether a stage runs again, and what it says then."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config.loader import load_config
from pipeline.workflow.fingerprint import Fingerprint, _read, code_of, fingerprint
from pipeline.workflow.runner import STAGES

DIGITS = Path(__file__).parents[3] / "configs" / "digits.yaml"


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
        return _read(path)[0]

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
