"""Copies of training images."""

import numpy as np
import pytest
from scipy.stats import ranksums
from sklearn.cluster import KMeans

from bngan.metrics.memorization import CopyDetector, data_copying, memorization
from tests.unit.metrics.test_precision_recall import distances, normal


def test_copies_of_training_images_are_found() -> None:
    train, fresh, test = normal(0, 2000, 8), normal(1, 1000, 8), normal(2, 1000, 8)
    copies = train[:1000] + 0.01 * normal(3, 1000, 8)
    closest = distances(fresh, train).argmin(1)
    others = np.sort(distances(train[closest], train), axis=1)[:, 1]
    authentic = float((distances(fresh, train).min(1) > others).mean())
    assert CopyDetector(test, train)(fresh).authenticity.value == pytest.approx(authentic, abs=1e-9)
    assert CopyDetector(test, train)(copies).authenticity.value < 0.01
    half = np.concatenate([copies[:500], fresh[:500]])
    found, both = CopyDetector(test, train)(half), memorization(half, test, train)
    assert found.authenticity.value == pytest.approx(authentic / 2, abs=0.05)
    assert both.authenticity.value == found.authenticity.value
    assert both.real_authenticity == found.real_authenticity.value
    assert both.data_copying == data_copying(half, test, train)
    around, below, above = (data_copying(x, test, train) for x in (fresh, copies, fresh + 1.0))
    assert around is not None
    assert below is not None
    assert above is not None
    assert abs(around) < 2
    assert below < -10
    assert above > 3


def test_data_copying_between_far_clusters_is_that_of_float64() -> None:
    def scenes(seed: int, count: int) -> np.ndarray:
        samples = np.round(normal(seed, count, 8) * 100) / 64  # exact in float32 after the shift
        samples[::2] += 30_000
        return samples.astype(np.float32)

    train, test = scenes(0, 400), scenes(1, 300)
    fake = scenes(2, 300)
    cells = KMeans(10, random_state=0, n_init=1).fit(train.astype(np.float64))
    assert len(np.unique(cells.labels_[::2])) > 2  # each cluster has cells of its own
    assert len(np.unique(cells.labels_[1::2])) > 2
    scores, weights = [], []
    of_fake, of_test = (distances(x, cells.cluster_centers_).argmin(1) for x in (fake, test))
    to_fake, to_test = (distances(x, train).min(1) for x in (fake, test))
    for cell in range(10):
        ours, theirs = to_fake[of_fake == cell], to_test[of_test == cell]
        if min(len(ours), len(theirs)) >= 20:
            scores.append(ranksums(ours, theirs).statistic)
            weights.append(len(theirs))
    assert data_copying(fake, test, train) == pytest.approx(np.average(scores, weights=weights))


def test_authenticity_is_as_sure_as_a_share_of_so_many_images() -> None:
    train = normal(0, 1000, 8)
    real = normal(0, 20, 8)
    found = [CopyDetector(real, train)(normal(i, 200, 8)).authenticity for i in range(1, 80)]
    spread = np.std([estimate.value for estimate in found])
    assert np.mean([e.standard_error for e in found]) == pytest.approx(spread, rel=0.25)


def test_the_copy_share_counts_what_is_nearer_than_real_images_are() -> None:
    train, fresh, test = normal(0, 2000, 8), normal(1, 1000, 8), normal(2, 1000, 8)
    hugging = np.concatenate([train[:100] + 0.01 * normal(3, 100, 8), fresh[100:]])
    limit = np.quantile(distances(test, train).min(1), 0.01)
    for fake, least, most in ((fresh, 0.0, 0.03), (hugging, 0.1, 0.12)):
        share = CopyDetector(test, train)(fake).copy_share
        assert share.value == (distances(fake, train).min(1) < limit).mean()
        assert least <= share.value <= most
    far = test + 100  # whose copies nobody is near to
    assert CopyDetector(far, train)(hugging).copy_share.value == 1


def test_the_copy_share_knows_its_error() -> None:
    """Both sides are drawn anew each time."""
    train = normal(0, 1000, 8)
    pairs = [(normal(2 * i + 1, 300, 8), normal(2 * i + 2, 300, 8)) for i in range(100)]
    found = [CopyDetector(pair[1], train)(pair[0]).copy_share for pair in pairs]
    spread = np.std([estimate.value for estimate in found])
    assert 0.7 * spread < np.mean([e.standard_error for e in found]) < 2 * spread
    assert np.mean([e.p_above(0.02) < 0.05 for e in found]) <= 0.05
