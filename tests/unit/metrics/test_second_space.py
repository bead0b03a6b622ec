"""The second space measures by a classifier's features, or by patches of a pyramid."""

import json
from pathlib import Path

import numpy as np
import pytest

from bngan.metrics.classifier import ResidualClassifier, untrained_extractor
from bngan.metrics.features import INFO, Extractor, ExtractorInfo, Features
from bngan.metrics.fid import frechet_distance
from bngan.metrics.pyramid import pyramid_estimate, pyramid_patches
from bngan.metrics.second_space import MOST_IMAGES, SecondSpace, save_classifier

SHAPE = (1, 8, 8)


def images(seed: int, count: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)


def classifier() -> Extractor:
    info = ExtractorInfo("classifier", SHAPE, 64, 3, network="residual")
    return Extractor(ResidualClassifier(SHAPE, 3), info)


def test_the_pyramid_takes_as_many_images_as_there_are_real_ones() -> None:
    real, fake = images(0), images(1, 100)
    space = SecondSpace(real)
    expected = pyramid_estimate(pyramid_patches(fake[:60]), pyramid_patches(real)).value
    assert space.distance(space.describe(fake)).value == expected
    assert space.distance(real).value == 0


def test_a_stored_classifier_measures_as_before(tmp_path: Path) -> None:
    first, real, fake = classifier(), images(0), images(1, 100)
    save_classifier(tmp_path, first, real)
    space = SecondSpace.load(tmp_path)
    expected = frechet_distance(first(fake).features, first(real).features)
    assert space.distance(space.describe(fake)).value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "change", [{"weights": "program.pt"}, {"kind": "file"}, {"kind": "random"}]
)
def test_no_other_network_is_loaded(change: dict[str, str], tmp_path: Path) -> None:
    """A file may be a program, which nobody was asked to trust."""
    save_classifier(tmp_path, classifier(), images(0))
    record = json.loads((tmp_path / INFO).read_text())
    (tmp_path / INFO).write_text(json.dumps({**record, **change}))
    with pytest.raises(ValueError, match=r"extractor\.json is no classifier"):
        SecondSpace.load(tmp_path)


def test_images_that_a_generator_has_seen_leave_before_the_others_are_counted() -> None:
    fresh = np.arange(80) % 2 == 0
    np.testing.assert_array_equal(SecondSpace(images(0)).take(fresh).real, images(0)[::2])
    many = np.arange(3 * MOST_IMAGES, dtype=np.uint8).reshape(-1, 1)
    late = np.arange(len(many)) >= MOST_IMAGES - 5  # seen: nearly all of the first 2,000
    kept = SecondSpace(many, untrained_extractor(SHAPE)).take(late)
    np.testing.assert_array_equal(kept.real, many[MOST_IMAGES - 5 : 2 * MOST_IMAGES - 5])
    assert kept.classifier is not None


def test_features_that_are_not_the_classifiers_are_refused(tmp_path: Path) -> None:
    save_classifier(tmp_path, classifier(), images(0))
    Features(np.zeros((60, 63), np.float32), np.zeros((60, 0), np.float32)).save(
        tmp_path / "real.npz"
    )
    with pytest.raises(ValueError, match=r"real\.npz does not belong to the classifier"):
        SecondSpace.load(tmp_path)
