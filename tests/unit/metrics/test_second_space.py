"""The second space measures by a classifier's features, or by patches of a pyramid."""

import json
from pathlib import Path

import numpy as np
import pytest

from bngan.metrics.classifier import ResidualClassifier, untrained_extractor
from bngan.metrics.features import INFO, Extractor, ExtractorInfo
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
    space = SecondSpace.pyramid(real)
    expected = pyramid_estimate(pyramid_patches(fake[:60]), pyramid_patches(real)).value
    assert space.distance(space.describe(fake)).value == expected
    assert space.distance(real).value == 0
    assert len(SecondSpace.pyramid(np.zeros((MOST_IMAGES + 1, 8, 8, 1), np.uint8)).real) == 2000


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


def test_images_that_a_generator_has_seen_leave() -> None:
    space = SecondSpace.pyramid(images(0))
    fresh = np.arange(80) % 2 == 0
    np.testing.assert_array_equal(space.take(fresh).real, images(0)[::2])
    np.testing.assert_array_equal(space.take(fresh[:20]).real, images(0)[:20:2])
    kept = SecondSpace(np.zeros((60, 64), np.float32), untrained_extractor(SHAPE)).take(fresh)
    assert (len(kept.real), kept.classifier is None) == (30, False)
