"""Drift between two sets of real images: a test by the distance of their features."""

from typing import NamedTuple

import numpy as np

from bngan.metrics.fid import frechet_distance, frechet_estimate
from bngan.numerics.rng import Stream, generator
from bngan.numerics.threads import limit_blas_threads

SPLITS = 199
"""Number of random splits of the pooled images: the smallest p-value is 1/200."""
_SEED = 1  # not that of the floor, which splits real images too


class Drift(NamedTuple):
    """Distance of new images from old ones, and distances between images of one source by chance.

    The distance between finite sets is never 0: compare it with ``chance``, not with 0.
    """

    distance: float
    """Frechet distance, see ``bngan.metrics.fid``."""
    low: float
    """Lower end of the distance's 95 % interval, by the jackknife over both sides."""
    high: float
    chance: np.ndarray
    """Distances between random halves of all images, ``(SPLITS,)``."""
    variance: float
    """Total variance of the old features: the trace of their covariance, for any number of
    images."""

    @property
    def expected(self) -> float:
        """Return the expected distance if old and new images have the same source."""
        return float(self.chance.mean())

    @property
    def p_value(self) -> float:
        """Return the permutation test's p-value (Phipson & Smyth 2010), exact for any features."""
        return float((1 + (self.chance >= self.distance).sum()) / (1 + len(self.chance)))

    @property
    def excess(self) -> float:
        """Return the distance beyond chance: about that of the sources, for any image count."""
        return self.distance - self.expected

    def beyond(self, level: float, tolerance: float) -> bool:
        """Return whether p <= ``level`` and excess >= ``tolerance`` times the variance."""
        return self.p_value <= level and self.excess >= tolerance * self.variance


def drift(old: np.ndarray, new: np.ndarray, splits: int = SPLITS) -> Drift:
    """Return the drift from old features to new ones, both ``(N, d)``.

    Raises:
        ValueError: if the numbers of images differ, or are less than an interval needs.
    """
    if old.shape != new.shape:
        raise ValueError(
            f"as many old images as new ones are compared, got {old.shape}, {new.shape}"
        )
    pool, count = np.concatenate([old, new]), len(old)
    chance = np.empty(splits)
    with limit_blas_threads(old.shape[1]):
        estimate = frechet_estimate(new, old)
        for number in range(splits):
            order = generator(_SEED, Stream.FLOOR, number).permutation(len(pool))
            chance[number] = frechet_distance(pool[order[:count]], pool[order[count:]])
    variance = float(old.astype(np.float64).var(axis=0, ddof=1).sum())
    return Drift(estimate.value, *estimate.interval(), chance, variance)
