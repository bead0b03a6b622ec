"""Frechet distance between two sets of features, each summarised by a Gaussian."""

import numpy as np


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """|mu_a - mu_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of features ``(N, d)`` (Heusel et al. 2017).

    Covariances are unbiased (ddof 1) and everything is float64. The root's trace comes from the
    symmetric form (S_a^(1/2) S_b S_a^(1/2)), whose eigenvalues are real and not negative, so
    rank-deficient covariances (N <= d) are no special case.

    Raises:
        ValueError: for fewer than two samples, different widths or values that are not finite.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"features must be (N, d) with one d, got {a.shape} and {b.shape}")
    if min(len(a), len(b)) < 2:
        raise ValueError("a covariance needs at least two samples")
    a, b = a.astype(np.float64), b.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("features must be finite")
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(min=0)).sum()
    means = np.square(a.mean(0) - b.mean(0)).sum()
    return float(means + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)
