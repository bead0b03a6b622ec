"""Kernel Inception Distance: the squared maximum mean discrepancy of two sets of features."""

import numpy as np

from bngan.metrics.jackknife import GROUPS, Estimate, group_slices
from bngan.numerics.threads import map_in_threads

_CELLS = 2_000_000
"""Number of kernel values, or of products of features, that a thread has in memory at a time."""
_CUBES = 500_000
"""Most products of three features, for which each group keeps its sums."""


def kernel_estimate(fake: np.ndarray, real: np.ndarray) -> Estimate:
    """Return unbiased MMD^2 of features under k(x, y) = (x.y / d + 1)^3 (Binkowski et al. 2018).

    Features are ``(N, d)``. Every pair of images counts once; the usual mean over 100 random
    subsets of 1,000 estimates the same value by drawing. MMD^2 can be slightly negative; for
    samples of one distribution its mean is 0. The jackknife's values come from the same pass over
    the pairs.

    Raises:
        ValueError: for fewer images than the jackknife needs, or different widths.
    """
    counts = [np.array([s.stop - s.start for s in group_slices(len(x))]) for x in (fake, real)]
    sums = _group_sums(fake, real)
    everything = np.ones(GROUPS)

    def score(kept_fake: np.ndarray, kept_real: np.ndarray) -> float:
        n, m = kept_fake @ counts[0], kept_real @ counts[1]
        kept = ((kept_fake, kept_fake), (kept_real, kept_real), (kept_fake, kept_real))
        fakes, reals, across = (a @ block @ b for (a, b), block in zip(kept, sums, strict=True))
        return float(fakes / (n * (n - 1)) + reals / (m * (m - 1)) - 2 * across / (n * m))

    without = {
        "fake": np.array([score(kept, everything) for kept in 1 - np.eye(GROUPS)]),
        "real": np.array([score(everything, kept) for kept in 1 - np.eye(GROUPS)]),
    }
    return Estimate(score(everything, everything), without)


def _group_sums(fake: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return kernel sums by groups ``(GROUPS, GROUPS)``: of fake pairs, of real ones, and across.

    An image's pair with itself is left out. All numbers are float64: MMD^2 is a small difference of
    large sums, if the features are far from 0.
    """
    width = fake.shape[1]
    if width != real.shape[1]:
        raise ValueError(f"features have {width} and {real.shape[1]} columns")
    # k is the cubed product of the samples over the root of d, with a column of ones beside them.
    one, other = (np.column_stack([x / np.sqrt(width), np.ones(len(x))]) for x in (fake, real))
    if width**2 < min(len(fake), len(real)) and (width + 1) ** 3 <= _CUBES:
        ours, theirs = _cubes(one), _cubes(other)
        fakes, reals, across = ours @ ours.T, theirs @ theirs.T, ours @ theirs.T
    else:
        fakes, reals = _pair_sums(one, one), _pair_sums(other, other)
        across = _pair_sums(one, other)
    for x, sums in ((one, fakes), (other, reals)):
        own = np.square(x).sum(axis=1) ** 3
        sums[np.diag_indices(GROUPS)] -= np.add.reduceat(own, _starts(x))
    return fakes, reals, across


def _starts(x: np.ndarray) -> list[int]:
    return [part.start for part in group_slices(len(x))]


def _cubes(x: np.ndarray) -> np.ndarray:
    """Return each group's sum of the products of three features: ``(GROUPS, d^3)``.

    The products of two sums are the sums of cubed products over all pairs of images, for far fewer
    operations than pairs take where there are more images than pairs of features.
    """

    step, width = max(_CELLS // x.shape[1] ** 2, 1), x.shape[1]

    def cubes(group: slice) -> np.ndarray:
        total = np.zeros((width**2, width))
        for start in range(group.start, group.stop, step):
            part = x[start : min(start + step, group.stop)]
            squares = part[:, :, None] * part[:, None, :]
            total += squares.reshape(len(part), -1).T @ part
        return total.ravel()

    return np.array(map_in_threads(cubes, group_slices(len(x))))


def _pair_sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return sums of cubed products over pairs by groups; symmetric pairs count once, if a is b."""
    groups_b, starts_b = group_slices(len(b)), _starts(b)

    def sums(number: int) -> np.ndarray:
        first = number if a is b else 0
        others, total = b[starts_b[first] :], np.zeros(GROUPS)
        rows = group_slices(len(a))[number]
        step = max(_CELLS // len(others), 1)
        for start in range(rows.start, rows.stop, step):
            block = a[start : min(start + step, rows.stop)] @ others.T
            block *= block * block
            starts = [part.start - starts_b[first] for part in groups_b[first:]]
            total[first:] += np.add.reduceat(block.sum(axis=0), starts)
        return total

    found: np.ndarray = np.array(map_in_threads(sums, range(GROUPS)))
    return np.triu(found) + np.triu(found, 1).T if a is b else found
