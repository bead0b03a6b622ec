"""Frechet distance between two sets of features, each summarised by a Gaussian."""

from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

# At the top: limit_blas_threads limits only libraries that are loaded before its call.
from scipy.linalg.lapack import dsygst

from bngan.metrics.jackknife import Estimate, group_slices
from bngan.numerics.threads import limit_blas_threads, map_in_threads

_SIZES = 15


class Moments(NamedTuple):
    """Moments of ``size`` feature vectors that determine the distance; all float64."""

    size: int
    mean: np.ndarray
    """``(d,)``"""
    scatter: np.ndarray
    """``(d, d)``: sum of outer products about the mean."""

    @property
    def covariance(self) -> np.ndarray:
        """Return the unbiased covariance ``(d, d)`` (ddof 1)."""
        return self.scatter / (self.size - 1)

    def join(self, other: "Moments") -> "Moments":
        """Return the moments of both sets together."""
        size = self.size + other.size
        apart = other.mean - self.mean
        between = np.outer(apart, apart) * (self.size * other.size / size)
        mean = self.mean + apart * (other.size / size)
        return Moments(size, mean, self.scatter + other.scatter + between)

    def without(self, part: "Moments") -> "Moments":
        """Return the moments of the rest when ``part`` is taken out."""
        rest = self.size - part.size
        mean = self.mean + (self.mean - part.mean) * (part.size / rest)
        apart = mean - part.mean
        between = np.outer(apart, apart) * (rest * part.size / self.size)
        return Moments(rest, mean, self.scatter - part.scatter - between)


def moments(features: np.ndarray) -> Moments:
    """Return the moments of features ``(N, d)``.

    Raises:
        ValueError: if values are not finite.
    """
    features = features.astype(np.float64)
    if not np.isfinite(features).all():
        raise ValueError("features must be finite")
    mean = features.mean(axis=0)
    centred = features - mean
    return Moments(len(features), mean, centred.T @ centred)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return |mu_a - mu_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of features (Heusel et al. 2017).

    Features are ``(N, d)``, covariances are unbiased (ddof 1), and everything is float64. With any
    factor S_a = F F^T the root's trace is the sum of the roots of the eigenvalues of F^T S_b F.
    This matrix is symmetric, and its eigenvalues are real and not negative: rank-deficient
    covariances (N <= d) are no special case.

    Raises:
        ValueError: for fewer than two samples, different widths or values that are not finite.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"features must be (N, d) with one d, got {a.shape} and {b.shape}")
    if min(len(a), len(b)) < 2:
        raise ValueError("a covariance needs at least two samples")
    one, other = moments(a), moments(b)
    return _distance(one, other, factor(one.covariance))


def frechet_estimate(fake: np.ndarray, real: np.ndarray) -> Estimate:
    """Return ``frechet_distance`` with the jackknife's 40 values, each without one group."""
    with limit_blas_threads(real.shape[1]):
        whole_fake, whole_real = moments(fake), moments(real)
        root_fake, root_real = factor(whole_fake.covariance), factor(whole_real.covariance)
        without = {
            "fake": _without_groups(fake, whole_fake, whole_real, root_real),
            "real": _without_groups(real, whole_real, whole_fake, root_fake),
        }
        return Estimate(_distance(whole_fake, whole_real, root_fake), without)


def _without_groups(
    features: np.ndarray, whole: Moments, other: Moments, root: np.ndarray
) -> np.ndarray:
    """Return distances from ``other``, whose factor is ``root``, to the whole less each group."""

    def distance(group: slice) -> float:
        return _distance(other, whole.without(moments(features[group])), root)

    return np.array(map_in_threads(distance, group_slices(len(features))))


def factor(covariance: np.ndarray) -> np.ndarray:
    """Return lower triangular F with F F^T = ``covariance``: by Cholesky, else from the root."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:  # not positive definite
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(values.clip(min=0))
        return np.linalg.qr(root.T).R.T


def _distance(one: Moments, other: Moments, root: np.ndarray) -> float:
    """Return the distance between two sets, given a factor of the first one's covariance."""
    own, others = one.covariance, other.covariance
    product, _ = dsygst(others, root, itype=2, lower=1)  # F^T S F by a third of the operations
    cross = np.sqrt(np.linalg.eigvalsh(product).clip(min=0)).sum()
    means = np.square(one.mean - other.mean).sum()
    return float(means + np.trace(own) + np.trace(others) - 2 * cross)


def frechet_limit(fake: np.ndarray, real: np.ndarray) -> float:
    """Return the distance extrapolated to infinitely many images on both sides.

    The method is that of Chong & Forsyth 2020: the intercept of a line in 1/N through distances of
    15 sizes, from a third of the images to all. The images are taken in their order, which must be
    random.
    """
    count = min(len(fake), len(real))
    sizes = np.linspace(max(count / 3, 2), count, _SIZES).astype(int)
    edges = pairwise([0, *sizes])
    parts = map_in_threads(lambda edge: [moments(x[slice(*edge)]) for x in (fake, real)], edges)
    growing = accumulate(parts, lambda sides, more: list(map(Moments.join, sides, more)))

    def distance(sides: list[Moments]) -> float:
        one, other = sides
        return _distance(one, other, factor(one.covariance))

    distances = map_in_threads(distance, growing)
    _, intercept = np.polyfit(1 / sizes, distances, 1)
    return float(intercept)


def expected_bias(covariance: np.ndarray, fakes: int, reals: int) -> float:
    """Return the expected distance, to first order, between samples of one and the same Gaussian.

    It is (1/n + 1/m) [tr S + 1/2 sum_ij l_i l_j (1 + delta_ij) / (l_i + l_j)] with eigenvalues l of
    S. For d eigenvalues of 1 and n = m = N it is (d^2 + 5d) / 2N.
    """
    values = np.linalg.eigvalsh(covariance)
    values = values[values > values[-1] * 1e-12]
    pairs = np.outer(values, values) / np.add.outer(values, values)
    return float((1 / fakes + 1 / reals) * (values.sum() + (pairs.sum() + np.trace(pairs)) / 2))
