"""Whether two sets of real images come from the same source, by the distance of their features."""

from typing import NamedTuple

import numpy as np

from bngan.metrics.fid import frechet_distance, frechet_estimate
from bngan.numerics.rng import Stream, generator
from bngan.numerics.threads import limit_blas_threads

SPLITS = 199
"""Random splits of the pooled images: the smallest p-value is 1/200."""
_SEED = 1  # not that of the floor, which splits real images too


class Drift(NamedTuple):
    """How far new images are from old ones, and what chance makes of images of one source.

    The distance between finite sets is never 0: compare it with ``chance``, not with nothing.
    """

    distance: float
    """Frechet distance, see ``bngan.metrics.frechet``."""
    low: float
    """Of its 95 % interval, by the jackknife over both sides."""
    high: float
    chance: np.ndarray
    """``(SPLITS,)``: distances between random halves of all images."""
    variance: float
    """Total variance of the old features: the trace of their covariance, whatever their number."""

    @property
    def expected(self) -> float:
        """The distance if old and new were the same."""
        return float(self.chance.mean())

    @property
    def p_value(self) -> float:
        """Of the permutation test (Phipson & Smyth 2010): exact, whatever the features are like."""
        return float((1 + (self.chance >= self.distance).sum()) / (1 + len(self.chance)))

    @property
    def excess(self) -> float:
        """Of the distance over what chance makes: about that of the sources, however many images."""
        return self.distance - self.expected

    def beyond(self, level: float, tolerance: float) -> bool:
        """Whether it is more than chance at ``level``, and by ``tolerance`` of the total variance."""
        return self.p_value <= level and self.excess >= tolerance * self.variance


def drift(old: np.ndarray, new: np.ndarray, splits: int = SPLITS) -> Drift:
    """The drift from old features to new ones, ``(N, d)`` both.

    Raises:
        ValueError: for different numbers of images, or fewer than an interval needs.
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
