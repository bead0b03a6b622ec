"""The gate gets its images from the folders that stages and versions have."""

from pathlib import Path

import numpy as np
import pytest

from bngan.metrics.classifier import untrained_extractor
from bngan.metrics.evaluation import Reference
from bngan.metrics.protocol import Protocol
from bngan.metrics.second_space import save_classifier
from pipeline.core.errors import UserError
from pipeline.evaluation.contenders import (
    GAP,
    GAP_ERROR,
    MEASURE,
    gap_of,
    second_space,
    training_features,
    unseen_features,
)
from pipeline.evaluation.vetoes import Gap
from tests.unit.metrics.test_second_space import classifier, images
from tests.unit.workflow.stages.test_prepare import prepared, write_table


def test_real_images_are_those_of_the_protocol(tmp_path: Path) -> None:
    write_table(tmp_path / "data", "train", [i % 2 for i in range(200)])
    folder, _ = prepared(tmp_path / "data", tmp_path / "out", select=0.2, test=0.2)
    for split in ("test", "select"):
        space = second_space(Protocol.parse(f"fid30_{split}"), tmp_path / "second", folder)
        expected = np.load(folder / f"{split}_images.npy")[:30]
        np.testing.assert_array_equal(space.real, expected)


def test_a_classifier_is_taken_where_there_is_one(tmp_path: Path) -> None:
    save_classifier(tmp_path, classifier(), images(0))
    space = second_space(Protocol.parse("fid30_test"), tmp_path, tmp_path)
    assert space.label == "the classifier's Frechet distance"
    (tmp_path / "real.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"real\.npz"):
        second_space(Protocol.parse("fid30_test"), tmp_path, tmp_path)


def test_gaps_of_one_measure_are_compared() -> None:
    tags = {MEASURE: "a", GAP: "1.5", GAP_ERROR: "0.25"}
    assert gap_of(tags, "a") == Gap(1.5, 0.25)
    assert gap_of(tags, "b") is None
    assert gap_of({MEASURE: "a", GAP: "1.5"}, "a") is None
    for edited in ("", "small", "nan"):
        assert gap_of(tags | {GAP: edited}, "a") is None


def test_copies_are_held_beside_images_that_nobody_was_trained_on(tmp_path: Path) -> None:
    """If the protocol's real images are training images, the select images take their place."""
    write_table(tmp_path / "data", "train", [i % 2 for i in range(200)])
    folder, _ = prepared(tmp_path / "data", tmp_path / "out", select=0.2, test=0.2)
    arrays = {s: np.load(folder / f"{s}_images.npy") for s in ("train", "select", "test")}
    extractor = untrained_extractor((arrays["train"].shape[3], *arrays["train"].shape[1:3]))
    for split, unseen in (("test", "test"), ("train", "select")):
        real = extractor(arrays[split][:30])
        reference = Reference(Protocol.parse(f"fid30_{split}"), extractor, real, {})
        found = unseen_features(reference, folder)
        np.testing.assert_allclose(found, extractor(arrays[unseen][:30]).features, atol=1e-6)
        train = training_features(reference, folder)
        np.testing.assert_allclose(train, extractor(arrays["train"]).features, atol=1e-6)
