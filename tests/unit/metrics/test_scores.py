import numpy as np
import pytest

from bngan.metrics.classifier import train_classifier, untrained_extractor
from bngan.metrics.extractors import load_extractor
from bngan.metrics.features import Extractor, Features
from bngan.metrics.scores import interval_scores, point_scores, real_vs_real


def features(count: int, dim: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, scale, (count, dim))


def test_the_floor_follows_the_known_bias() -> None:
    dim, count = 32, 800
    unseen = Features(features(5000, dim, 0), np.zeros((5000, 0)))
    expected = (dim**2 + 5 * dim) / (2 * count)
    measured = real_vs_real([unseen], count, "0")
    assert measured["count"] == count
    assert measured["fid"] == pytest.approx(expected, rel=0.1)
    assert measured["kid"] == pytest.approx(0, abs=3 * measured["kid_spread"])
    assert measured["density"] == pytest.approx(1, abs=0.1)
    assert real_vs_real([unseen.take(slice(100))], count, "0")["count"] == 50


def test_mind_has_a_floor_only_at_the_scores_own_number_of_images() -> None:
    unseen = Features(features(100, 8, 0).astype(np.float32), np.zeros((100, 0)))
    enough, few = (real_vs_real([unseen], count, "0") for count in (50, 51))
    assert 0 < enough["mind_spread"] < enough["mind"]
    assert few["count"] == 50
    assert {name for name in enough if name not in few} == {"mind", "mind_spread"}
    fewer = unseen.take(slice(99))
    assert "mind" in interval_scores(unseen, unseen, "0")
    assert "mind" not in interval_scores(fewer, unseen, "0")


@pytest.fixture(scope="module")
def trained() -> tuple[Extractor, np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = data.target.astype(np.int64)
    return train_classifier(images[:900], labels[:900], 10), images[900:], labels[900:]


def test_the_classifier_learns_and_survives_a_round_trip(trained, tmp_path) -> None:
    extractor, images, labels = trained
    out = extractor(images)
    assert out.features.shape == (len(images), 64)
    # Digits by other writers; the network of earlier code reads 94.2 % of them.
    assert (out.logits.argmax(1) == labels).mean() > 0.965
    extractor.save(tmp_path)
    again = load_extractor(tmp_path)
    assert again.sha256 == again.info.sha256 == extractor.sha256
    assert again.info == extractor.info
    assert len(again.info.sha256) == 64
    np.testing.assert_array_equal(again(images).features, out.features)


def test_scores_move_the_right_way(trained) -> None:
    extractor, images, _ = trained
    half = len(images) // 2
    real = extractor(images[half:])
    good = point_scores(extractor(images[:half]), real)
    noise = np.random.default_rng(0).integers(0, 256, images[:half].shape, dtype=np.uint8)
    bad = point_scores(extractor(noise), real)
    one_class = point_scores(extractor(np.repeat(images[:1], half, axis=0)), real)
    assert good["fid"] < bad["fid"] / 5
    assert good["fid"] < one_class["fid"] / 5
    assert one_class["inception_score"] < 1.1 < good["inception_score"]


def test_without_labels_there_is_no_inception_score() -> None:
    extractor = untrained_extractor((3, 9, 7))
    out = extractor(np.zeros((4, 9, 7, 3), np.uint8))
    assert extractor.info.kind == "random"
    assert set(point_scores(out, out)) == {"fid"}
