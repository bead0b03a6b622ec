"""Nearest neighbours against brute force by squared differences in float64."""

from collections.abc import Callable

import numpy as np
import pytest

from bngan.metrics.memorization import CopyDetector
from bngan.metrics.neighbours import Distances, nearest, radii
from bngan.metrics.precision_recall import manifold_estimates
from tests.unit.metrics.test_precision_recall import normal

RNG = np.random.default_rng


def squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    wide = b.astype(np.float64)
    return np.stack([np.square(x - wide).sum(axis=1) for x in a.astype(np.float64)])


def to_others(samples: np.ndarray, k: int) -> np.ndarray:
    apart = squares(samples, samples)
    np.fill_diagonal(apart, np.inf)
    return np.sort(apart, axis=1)[:, k - 1]


def bursts(seed: int, scenes: int = 12, frames: int = 9) -> np.ndarray:
    """Near-duplicates: each differs from its scene by a few units in the last place."""
    base = RNG(0).normal(30, 5, (scenes, 24)).astype(np.float32).repeat(frames, axis=0)
    return base * (1 + 2.0**-22 * RNG(seed).integers(-2, 3, base.shape)).astype(np.float32)


def far_clusters(seed: int) -> np.ndarray:
    samples = normal(seed, 90, 16) * np.float32(0.01)
    samples[:40] += 1000
    samples[80:] -= 30_000
    return samples


def levels(seed: int) -> np.ndarray:
    """Few whole numbers: many distances are equal, and so are many samples."""
    return RNG(seed).integers(0, 3, (130, 4)).astype(np.float32)


def collapsed(seed: int) -> np.ndarray:
    samples = normal(seed, 110, 6)
    samples[::2], samples[1::4] = samples[0], samples[1]
    samples[0, 0] = samples[2, 0] = 0.0
    samples[4, 0] = -0.0
    return samples


def huge(seed: int) -> np.ndarray:
    """Squares are beyond float32, and one sample is far from all the others."""
    samples = normal(seed, 60, 5) * np.float32(1e25)
    samples[7] = 3e35
    return samples


def modes(seed: int) -> np.ndarray:
    """A collapsed generator: three images that differ by one unit in the last place, in 17 digits."""
    centres = RNG(0).normal(0, 9, (3, 19)).astype(np.float32)
    samples = centres[RNG(seed).integers(0, 3, 160)]
    return samples * (1 + 2.0**-23 * RNG(seed).integers(-1, 2, samples.shape)).astype(np.float32)


def nested_modes(seed: int) -> np.ndarray:
    """Clusters of clusters, each 10^5 or more smaller, around a point that is far from the mean."""
    samples = np.zeros((150, 7), np.float32)
    for part, scale in zip(
        np.split(np.arange(150), 5), (1e-30, 1e-18, 1e-7, 1e3, 1e9), strict=True
    ):
        samples[part] = RNG(seed).normal(size=(30, 7)) * scale
    samples[-1] = 1e28
    return samples


def outlier(seed: int) -> np.ndarray:
    samples = normal(seed, 140, 11)
    samples[3, 2] = 1e12
    return samples


SETS = [bursts, far_clusters, levels, collapsed, huge, modes, nested_modes, outlier]


@pytest.mark.parametrize(
    ("cells", "few", "fold"),
    [(10_000_000, 32, 64), (7 * 131, 32, 64), (10_000_000, 0, 64), (7 * 131, 32, 3)],
)
@pytest.mark.parametrize("make", SETS)
def test_neighbours_and_radii_are_brute_forces(  # type: ignore[no-untyped-def]
    make, cells: int, few: int, fold: int, monkeypatch
) -> None:
    monkeypatch.setattr("bngan.metrics.neighbours._CELLS", cells)
    monkeypatch.setattr("bngan.metrics.neighbours._FEW", few)
    monkeypatch.setattr("bngan.metrics.neighbours._FOLD", fold)
    a, b = make(1), make(2)
    b = np.concatenate([b, a[5:9], a[5:7]])  # some samples are equal
    apart = squares(a, b)
    squared, index = nearest(a, b)
    np.testing.assert_array_equal(squared, apart.min(axis=1))
    np.testing.assert_array_equal(index, apart.argmin(axis=1))  # the first of equal ones
    for k, radius in zip((1, 2, 7), radii(b, 1, 2, 7), strict=True):
        np.testing.assert_array_equal(radius, to_others(b, k))
    some = np.array([3, 50, 3, 8])
    np.testing.assert_array_equal(radii(b, 2, of=some)[0], to_others(b, 2)[some])


@pytest.mark.parametrize("precision", [np.float32, np.float64])
@pytest.mark.parametrize("make", SETS)
def test_rounding_moves_distances_less_than_their_bound(make, precision) -> None:  # type: ignore[no-untyped-def]
    a, b = make(1), make(2)
    pairs = Distances(a, b, precision=precision)
    apart = np.abs(pairs.block(slice(None)) - squares(a, b) * pairs.scale**2)
    lengths = pairs.lengths_a[:, None] + pairs.lengths_b
    assert (apart <= pairs.rounding * lengths + pairs.least).all()
    assert lengths.max() < 8  # in the range of float32


def counted_pairs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of pairs each time some are compared by differences."""
    compared = list[int]()
    exact = Distances.exact

    def counted(self: Distances, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        compared.append(len(i))
        return exact(self, i, j)

    monkeypatch.setattr(Distances, "exact", counted)
    return compared


def test_few_pairs_are_compared_among_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Minima of folds bound the k-th distance so well that hardly another pair is compared."""
    compared = counted_pairs(monkeypatch)
    a, b = normal(0, 100, 16), normal(1, 6500, 16)
    squared, index = nearest(a, b)
    apart = squares(a, b)
    np.testing.assert_array_equal(index, apart.argmin(axis=1))
    np.testing.assert_array_equal(squared, apart.min(axis=1))
    assert sum(compared) < 110
    compared.clear()
    fifth = np.sort(squares(b[:100], b), axis=1)[:, 5]  # the nearest is the sample itself
    np.testing.assert_array_equal(radii(b, 5, of=np.arange(100))[0], fifth)
    assert sum(compared) < 750


@pytest.mark.parametrize("few", [32, 0])
@pytest.mark.parametrize("make", SETS)
def test_scores_by_distances_are_brute_forces(make, few: int, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("bngan.metrics.neighbours._FEW", few)
    fake, real = make(1), np.concatenate([make(2), make(1)[:21]])
    apart = squares(fake, real)
    real_3, real_5, fake_3 = to_others(real, 3), to_others(real, 5), to_others(fake, 3)
    expected = {
        "precision": (apart <= real_3).any(axis=1).mean(),
        "recall": (apart <= fake_3[:, None]).any(axis=0).mean(),
        "density": (apart < real_5).sum() / 5 / len(fake),
        "coverage": (apart < real_5).any(axis=0).mean(),
    }
    found = {name: score.value for name, score in manifold_estimates(fake, real).items()}
    assert found == pytest.approx(expected, abs=1e-12)
    copies = apart.min(axis=1) <= to_others(real, 1)[apart.argmin(axis=1)]
    assert CopyDetector(fake, real)(fake).authenticity.value == pytest.approx(
        1 - copies.mean(), abs=1e-12
    )


@pytest.mark.parametrize("make", [modes, outlier, nested_modes])
def test_few_pairs_of_a_collapsed_generator_are_compared_by_differences(
    make: Callable[[int], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pairs were before: the cost was that of brute force, and more."""
    compared = counted_pairs(monkeypatch)
    a, b = make(1), make(2)
    for call in (lambda: radii(a, 3, 5), lambda: nearest(a, b)):
        call()
        assert sum(compared) < 10 * len(a)
        compared.clear()
    manifold_estimates(a, b)
    assert sum(compared) < 20 * len(a)


def test_small_sets() -> None:
    one, two = np.zeros((1, 3), np.float32), np.array([[2, 0, 0], [1, 0, 0]], np.float32)
    assert nearest(one, two) == (np.array([1.0]), np.array([1]))
    assert nearest(two, one)[0].tolist() == [4.0, 1.0]
    (radius,) = radii(two.repeat(2, axis=0), 3)
    assert radius.tolist() == [1.0] * 4
    with pytest.raises(ValueError, match="7-th neighbour needs more samples than 7"):
        radii(normal(0, 7, 5), 7)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(value: float) -> None:
    whole = normal(0, 30, 4)
    broken = whole.copy()
    broken[3, 1] = value
    for call in (
        lambda: nearest(broken, whole),
        lambda: nearest(whole, broken),
        lambda: radii(broken, 3),
        lambda: manifold_estimates(broken, whole),
    ):
        with pytest.raises(ValueError, match="distances need finite features"):
            call()
