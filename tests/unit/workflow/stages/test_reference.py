"""reference, called as the function it is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bngan.data.dataset import UNLABELLED, ImageSpec
from bngan.metrics.classifier import ResidualClassifier
from bngan.metrics.features import Extractor, ExtractorInfo
from bngan.metrics.second_space import SecondSpace
from pipeline.config.schema import Config, DataConfig, EvaluateConfig, ExtractorConfig
from pipeline.core.errors import UserError
from pipeline.workflow.stage import StageContext
from pipeline.workflow.stages import reference
from pipeline.workflow.stages.reference import _is_guess, _renamed
from tests.unit.workflow.stages.test_prepare import Silence, prepared, write_table


@pytest.mark.parametrize(
    ("protocol", "kind", "available"),
    [
        ("fid41_test", "auto", "test split has 40 for it: use fid40_test"),
        ("fid61_train", "auto", "train split has 60 for it: use fid60_train"),  # the other half
        ("fid121_train", "random", "train split has 120 for it: use fid120_train"),
    ],
)
def test_a_protocol_of_too_many_images_is_told_before_a_classifier_learns(
    protocol: str, kind: Any, available: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(tmp_path / "data", "train", [i % 2 for i in range(200)])
    folder, _ = prepared(tmp_path / "data", tmp_path / "out", select=0.2, test=0.2)
    monkeypatch.setattr(reference, "train_classifier", lambda *_, **__: pytest.fail("it learned"))
    monkeypatch.setattr(reference, "untrained_extractor", lambda *_: pytest.fail("it was made"))
    config = Config(
        name="x",
        data=DataConfig(path=str(tmp_path / "data")),
        extractor=ExtractorConfig(kind),
        evaluate=EvaluateConfig(protocol),
    )
    (output := tmp_path / "reference").mkdir()
    inputs: Any = {"prepare": folder}
    context = StageContext(config, inputs, {}, output, output, "run", "print", Silence())  # type: ignore[arg-type]
    with pytest.raises(UserError, match=rf"^evaluate.protocol: {protocol} needs .* {available}"):
        reference.run(context)


@pytest.mark.parametrize("flip", [False, True])
def test_the_classifier_learns_from_mirror_images_where_the_training_does(
    flip: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(tmp_path / "data", "train", [i % 2 for i in range(200)])
    folder, _ = prepared(tmp_path / "data", tmp_path / "out", select=0.2, test=0.2)
    seen = []

    def train(*_: Any, mirrors: bool, **__: Any) -> Any:
        seen.append(mirrors)
        raise UserError("that is all")

    monkeypatch.setattr(reference, "train_classifier", train)
    data = DataConfig(path=str(tmp_path / "data"), flip=flip)
    config = Config(name="x", data=data, evaluate=EvaluateConfig("fid20_test"))
    inputs: Any = {"prepare": folder}
    context = StageContext(config, inputs, {}, tmp_path, tmp_path, "run", "print", Silence())  # type: ignore[arg-type]
    with pytest.raises(UserError, match="that is all"):
        reference.run(context)
    assert seen == [flip]
    assert "data.flip" in reference.STAGE.config


@pytest.mark.parametrize(("labels", "right"), [(True, True), (True, False), (False, True)])
def test_photographs_with_classes_get_a_classifier_for_the_gate(
    labels: bool, right: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With features of the protocol's real images; if it tells the classes of select images."""
    random = np.random.default_rng(0)
    for split, count in (("train", 80), ("select", 20), ("test", 25)):
        known = np.arange(count) % 2 if labels else np.full(count, UNLABELLED)
        pixels = random.integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)
        np.save(tmp_path / f"{split}_images.npy", pixels)
        np.save(tmp_path / f"{split}_labels.npy", known)
    (tmp_path / "dataset.json").write_text('{"classes": ["cat", "dog"]}')
    made = ResidualClassifier((3, 28, 28), 2)
    info = ExtractorInfo("classifier", (3, 28, 28), 64, 2, network="residual")
    asked = []

    def train(images: np.ndarray, *_: Any, **__: Any) -> Extractor:
        asked.append(len(images))
        return Extractor(made, info)

    monkeypatch.setattr(reference, "train_classifier", train)
    monkeypatch.setattr(reference, "_accuracy", lambda *_: 0.95 if right else 0.6)
    (output := tmp_path / "reference").mkdir()
    inputs: Any = {"prepare": tmp_path}
    config = Config(name="x", evaluate=EvaluateConfig("fid22_test"))
    context = StageContext(config, inputs, {}, output, output, "run", "print", Silence())  # type: ignore[arg-type]
    reference.run(context)
    assert json.loads((output / "extractor.json").read_text())["kind"] == "imagenet"
    assert asked == [40] * labels  # the half that the axes come from
    if not labels or not right:
        assert not (output / "second").exists()
        return
    space = SecondSpace.load(output / "second")
    test = np.load(tmp_path / "test_images.npy")[:22]
    np.testing.assert_allclose(space.real, Extractor(made, info)(test).features, rtol=1e-5)
    stored = json.loads((output / "second" / "extractor.json").read_text())
    assert stored["accuracy"] == 0.95


@pytest.mark.parametrize(
    ("accuracy", "labels", "guess"),
    [
        (0.6, [0, 1] * 10, True),
        (0.75, [0, 1] * 10, False),
        (0.75, [0, 0, 0, 1] * 5, True),
        (0.3, list(range(10)) * 10, False),
        (0.9, [1, -1] * 10, True),
        (None, [-1] * 10, True),
    ],
)
def test_an_accuracy_that_a_guess_may_have_is_none(
    accuracy: float | None, labels: list[int], guess: bool
) -> None:
    assert _is_guess(accuracy, np.array(labels)) == guess


def spec(*names: str) -> ImageSpec:
    return ImageSpec((1, 8, 8), (1 / len(names),) * len(names), names)


def test_a_class_that_continues_under_another_name_is_told() -> None:
    assert _renamed(spec("cat", "dog", "emu"), spec("dog", "cat", "emu")) == (
        "0 cat as dog, 1 dog as cat"
    )
    assert _renamed(spec("cat", "dog"), spec("cat", "dog")) == ""
    old = ImageSpec((1, 8, 8), (0.5, 0.5))  # of earlier code, which knew no names
    assert _renamed(old, spec("cat", "dog")) == ""
    many = [[f"{kind}{number}" for number in range(100)] for kind in "ab"]
    told = _renamed(spec(*many[0]), spec(*many[1]))
    assert told.startswith("0 a0 as b0, ")
    assert told.endswith("9 a9 as b9, ... (100 in all)")
