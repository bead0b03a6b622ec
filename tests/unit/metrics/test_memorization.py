"""Copies of training images."""

import numpy as np
import pytest
from scipy.stats import ranksums
from sklearn.cluster import KMeans

from bngan.metrics.jackknife import Estimate
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
    hugging = hugging[np.random.default_rng(4).permutation(1000)]
    limit = np.sort(distances(test, train).min(1))[9]  # the tenth of 1,000
    detector = CopyDetector(test, train)
    for fake, least, most in ((fresh, 0.0, 0.03), (hugging, 0.1, 0.12)):
        share = detector(fake).copy_share
        assert share.value == (distances(fake, train).min(1) < limit).mean()
        assert least <= share.value <= most
    assert detector.p_copies(detector(hugging).copy_share, 0.02) < 1e-6
    assert detector.p_copies(detector(fresh).copy_share, 0.02) > 0.5
    assert detector.p_copies(Estimate(np.nan, {}), 0.02) == 0


@pytest.mark.parametrize("count", [20, 60, 300])
def test_an_honest_generator_is_rarely_refused_for_copies(count: int) -> None:
    """Its distances are those of real images, of which a few give the limit."""
    train, refused = normal(0, 500, 8), 0
    shares = distances(normal(1, 20_000, 8), train).min(1)  # as if of many draws
    for i in range(200):
        detector = CopyDetector(normal(2 * i + 2, count, 8), train)
        share = float((shares < detector.close).mean())
        estimate = Estimate(share, {"fake": np.full(20, share)})
        refused += detector.p_copies(estimate, 0.02) < 0.05
    assert refused / 200 <= 0.05
    copier = Estimate(0.9, {"fake": np.full(20, 0.9)})
    assert detector.p_copies(copier, 0.02) < 1e-4


def test_the_error_of_an_authenticity_of_all_is_not_none() -> None:
    train = normal(0, 100, 8)
    far = CopyDetector(normal(1, 20, 8) + 100, train)
    assert far.real_authenticity.value == 1
    assert far.real_authenticity.standard_error == 0
    assert far.least_error == pytest.approx(np.sqrt(20.5 / 21 * 0.5 / 21 / 20))
