"""Whether a generator repeats its training images."""

import numpy as np

from bngan.metrics.jackknife import Estimate, leave_groups_out
from bngan.metrics.neighbours import nearest

_CELLS = 10
_FEWEST = 20
"""Images of each kind in a cell that is to count."""


def authenticity_estimate(samples: np.ndarray, train: np.ndarray) -> Estimate:
    """Share of samples that are not copies, by features ``(N, d)`` (AuthPct, Alaa et al. 2022).

    A sample counts as a copy if its nearest training image is nearer to it than to any other
    training image. Compare with what fresh real images score, which is not 1 either. Chance is in the
    samples alone: copies of other training images than these are none.
    """
    distances, copied = nearest(samples, train)
    own, inverse = np.unique(copied, return_inverse=True)
    to_others, _ = nearest(train[own], train, own)
    authentic = (distances > to_others[inverse]).astype(np.float64)

    def share(some: np.ndarray) -> float:
        return float(some.mean())

    return Estimate(share(authentic), {"fake": leave_groups_out(share, authentic)})


def data_copying(fake: np.ndarray, test: np.ndarray, train: np.ndarray) -> float | None:
    """C_T of features ``(N, d)``: far below 0 where generated images hug the training images.

    In each of 10 cells of the training images (k-means), Mann and Whitney's statistic z compares how
    far generated and how far test images are from their nearest training image; the mean over cells,
    weighted by the test images in them (Meehan et al. 2020). Below -3 it copies; far above 0 it strays.
    None where no cell holds enough images of both to tell.
    """
    from sklearn.cluster import KMeans  # takes a moment to import, and most commands never get here

    cells = KMeans(min(_CELLS, len(train)), random_state=0, n_init=1).fit(train)
    sides = [(cells.predict(x), nearest(x, train)[0]) for x in (fake, test)]
    scores, weights = list[float](), list[int]()
    for cell in range(cells.n_clusters):
        ours, theirs = (distances[cell_of == cell] for cell_of, distances in sides)
        if min(len(ours), len(theirs)) >= _FEWEST:
            scores.append(_mann_whitney(ours, theirs))
            weights.append(len(theirs))
    return float(np.average(scores, weights=weights)) if scores else None


def _mann_whitney(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Standard deviations by which ``ours`` are larger than ``theirs``, more often than not."""
    from scipy.stats import mannwhitneyu

    n, m = len(ours), len(theirs)
    statistic = float(mannwhitneyu(ours, theirs).statistic)
    return (statistic - n * m / 2) / float(np.sqrt(n * m * (n + m + 1) / 12))
