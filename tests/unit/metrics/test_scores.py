import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_statistics_to_metric
from torchmetrics.image.inception import InceptionScore

from bngan.metrics.classifier import train_classifier, untrained_extractor
from bngan.metrics.extractors import load_extractor
from bngan.metrics.features import Extractor, Features
from bngan.metrics.fid import frechet_distance
from bngan.metrics.inception_score import inception_score
from bngan.metrics.protocol import Protocol
from bngan.metrics.scores import point_scores, real_vs_real


def features(count: int, dim: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, scale, (count, dim))


def test_gaussians_with_a_known_distance() -> None:
    a, b = features(200_000, 2, 0), features(200_000, 2, 1, shift=1.0, scale=2.0)
    # |mu|^2 = 2, and each of two axes adds (1 - 2)^2.
    assert frechet_distance(a, b) == pytest.approx(4.0, rel=0.02)


@pytest.mark.parametrize(("count", "dim"), [(500, 8), (20, 64)], ids=["n>d", "n<d"])
def test_frechet_distance_agrees_with_torch_fidelity(count: int, dim: int) -> None:
    a, b = features(count, dim, 0), features(count, dim, 1, 0.3, 1.5)
    statistics = [{"mu": x.mean(0), "sigma": np.cov(x, rowvar=False)} for x in (a, b)]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)


def test_frechet_distance_of_a_set_to_itself_is_zero() -> None:
    a = features(100, 10, 0)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((5, 2)), np.zeros((5, 3)), "one d"),
        (np.zeros((1, 2)), np.zeros((5, 2)), "two samples"),
        (np.full((5, 2), np.nan), np.zeros((5, 2)), "finite"),
    ],
)
def test_bad_features_are_refused(a: np.ndarray, b: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frechet_distance(a, b)


def test_inception_score_agrees_with_torchmetrics() -> None:
    logits = torch.randn(400, 7, generator=torch.Generator().manual_seed(0)) * 3

    class Identity(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    metric = InceptionScore(feature=Identity(), splits=1)
    metric.update(logits)
    assert inception_score(logits.numpy(), splits=1)[0] == pytest.approx(
        metric.compute()[0].item(), rel=1e-5
    )


def test_inception_score_reaches_its_bounds() -> None:
    certain = np.tile(np.eye(5) * 1e4, (20, 1))
    assert inception_score(certain)[0] == pytest.approx(5.0)
    assert inception_score(np.tile(np.eye(5)[:4] * 1e4, (25, 1)))[0] == pytest.approx(4.0, rel=0.05)
    assert inception_score(np.zeros((100, 5)))[0] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="splits"):
        inception_score(np.zeros((9, 5)))


def test_a_protocols_name_says_everything() -> None:
    assert Protocol.parse("fid10k_test") == Protocol("fid10k_test", 10_000, "test")
    assert Protocol.parse("fid350_select").count == 350
    for name in ("fid10k", "fid0_test", "fid10k_validation", "kid10k_test", ""):
        with pytest.raises(ValueError, match="no protocol"):
            Protocol.parse(name)
    with pytest.raises(ValueError, match="at least 20"):
        Protocol.parse("fid19_test")
    with pytest.raises(ValueError, match=r"needs 350 .* has 349 for it: use fid349_test"):
        Protocol.parse("fid350_test").check(349)
    Protocol.parse("fid350_test").check(350)


def test_the_floor_follows_the_known_bias() -> None:
    dim, count = 32, 800
    unseen = Features(features(5000, dim, 0), np.zeros((5000, 0)))
    expected = (dim**2 + 5 * dim) / (2 * count)
    measured = real_vs_real([unseen], count)
    assert measured["count"] == count
    assert measured["fid"] == pytest.approx(expected, rel=0.1)
    assert measured["kid"] == pytest.approx(0, abs=3 * measured["kid_spread"])
    assert measured["density"] == pytest.approx(1, abs=0.1)
    assert real_vs_real([unseen.take(slice(100))], count)["count"] == 50


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
    assert (out.logits.argmax(1) == labels).mean() > 0.9
    extractor.save(tmp_path)
    again = load_extractor(tmp_path)
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
