"""Memorization: tests for copies of training images among generated images."""

import math
from typing import NamedTuple

import numpy as np

from bngan.metrics.jackknife import Estimate, leave_groups_out
from bngan.metrics.neighbours import nearest, radii

MOST_TRAINED = 50_000
"""Most training images among which copies are looked for."""
_CELLS = 10
_CLOSE = 0.01
"""Share of real images that are as near to a training image as a copy."""
_FEWEST = 20
"""Minimum number of images of each kind in a cell that counts."""


class Memorization(NamedTuple):
    """Scores of generated images beside training images."""

    authenticity: Estimate
    real_authenticity: float
    """The share of unseen real images that are no copies."""
    data_copying: float | None


def memorization(fake: np.ndarray, test: np.ndarray, train: np.ndarray) -> Memorization:
    """Return the authenticity of ``CopyDetector`` and ``data_copying``, for less than each alone.

    All are features: of generated, of unseen real and of training images, each ``(N, d)``.
    """
    distances, copied = nearest(np.concatenate([fake, test]), train)
    authentic = _authentic(distances, copied, train)
    count = len(fake)
    return Memorization(
        _share(authentic[:count]),
        float(authentic[count:].mean()),
        _data_copying(fake, test, train, (distances[:count], distances[count:])),
    )


class Copying(NamedTuple):
    """Estimates of how often generated images copy training images, beside unseen real images."""

    authenticity: Estimate
    real_authenticity: Estimate
    copy_share: Estimate


class CopyDetector:
    """Find copies of training images among generated images, beside unseen real ones.

    Args:
        real: features ``(N, d)`` of real images that are no training images.
        train: features of the training images, which are taken as given.

    Raises ``ValueError`` for fewer real images than the jackknife needs.
    """

    def __init__(self, real: np.ndarray, train: np.ndarray) -> None:
        self.train, self.count = train, len(real)
        distances, closest = nearest(real, train)
        self.real_authenticity = _share(_authentic(distances, closest, train), "real")
        self.rank = math.ceil(_CLOSE * self.count)
        self.close = np.sort(distances)[self.rank - 1]

    def __call__(self, fake: np.ndarray) -> Copying:
        """Return estimates from the features of generated images.

        Authenticity is the share of images that are not copies (AuthPct, Alaa et al. 2022). An image
        counts as a copy if its nearest training image is nearer to it than to any other training
        image. That of real images is not 1 either. The copy share is the share of generated images
        that are nearer to a training image than all but 1 % of the real images, at least one: about
        0.01 for an honest generator, and more beside fewer than 100 real images.
        """
        distances, closest = nearest(fake, self.train)
        authentic = _share(_authentic(distances, closest, self.train))
        near = _share((distances < self.close).astype(np.float64))
        return Copying(authentic, self.real_authenticity, near)

    @property
    def least_error(self) -> float:
        """Return the least standard error of the real images' authenticity.

        The jackknife finds none where all images are alike. Half an image of either kind is added.
        """
        share = (self.real_authenticity.value * self.count + 0.5) / (self.count + 1)
        return math.sqrt(share * (1 - share) / self.count)

    def p_copies(self, share: Estimate, limit: float) -> float:
        """Return the p-value of a copy share that is at most ``limit``.

        The share of an honest generator is that below an order statistic of the real distances, which
        has a beta distribution. A generator whose share is ``limit`` has as many times more. The
        drawing of the generated images counts by their lower 95 % bound.
        """
        from scipy.special import betaincc  # slow to import, and most commands never get here

        least = share.bound(0.05) * _CLOSE / limit
        if math.isnan(least):
            return 0.0
        return float(betaincc(self.rank, self.count + 1 - self.rank, min(max(least, 0.0), 1.0)))


def _authentic(distances: np.ndarray, copied: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return whether samples are no copies, from their nearest training images, as float64."""
    own, inverse = np.unique(copied, return_inverse=True)
    (to_others,) = radii(train, 1, of=own)
    return (distances > to_others[inverse]).astype(np.float64)


def _share(authentic: np.ndarray, drawn: str = "fake") -> Estimate:
    """Return the share of samples; chance has drawn the images of the set ``drawn``."""
    without = leave_groups_out(lambda some: float(some.mean()), authentic)
    return Estimate(float(authentic.mean()), {drawn: without})


def data_copying(fake: np.ndarray, test: np.ndarray, train: np.ndarray) -> float | None:
    """Return C_T of features ``(N, d)``: far below 0 if generated images hug the training images.

    The training images make 10 cells (k-means). In each cell Mann and Whitney's statistic z
    compares the distances of generated and of test images to their nearest training image. C_T is
    the mean over cells, weighted by their test images (Meehan et al. 2020). Below -3 the generator
    copies; far above 0 it strays. None if no cell holds enough images of both.
    """
    return _data_copying(fake, test, train, (nearest(fake, train)[0], nearest(test, train)[0]))


def _data_copying(
    fake: np.ndarray, test: np.ndarray, train: np.ndarray, distances: tuple[np.ndarray, np.ndarray]
) -> float | None:
    from scipy.stats import ranksums  # slow to import, and most commands never get here
    from sklearn.cluster import KMeans

    wide = train.astype(np.float64)  # KMeans expands squares, which cancels in float32
    cells = KMeans(min(_CELLS, len(train)), random_state=0, n_init=1).fit(wide)
    cells_of = [cells.predict(x.astype(np.float64)) for x in (fake, test)]
    sides = list(zip(cells_of, distances, strict=True))
    scores, weights = list[float](), list[int]()
    for cell in range(cells.n_clusters):
        ours, theirs = (apart[cell_of == cell] for cell_of, apart in sides)
        if min(len(ours), len(theirs)) >= _FEWEST:
            scores.append(float(ranksums(ours, theirs).statistic))  # Mann and Whitney's z
            weights.append(len(theirs))
    return float(np.average(scores, weights=weights)) if scores else None
