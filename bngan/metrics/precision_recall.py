"""Precision and recall, density and coverage: quality and variety of generated images."""

from threading import Lock

import numpy as np

from bngan.metrics.jackknife import GROUPS, Estimate, group_slices
from bngan.metrics.neighbours import Distances, radii, true_indices
from bngan.numerics.threads import map_in_threads

K_PRECISION, K_DENSITY = 3, 5


def manifold_estimates(fake: np.ndarray, real: np.ndarray) -> dict[str, Estimate]:
    """Return four scores of features ``(N, d)``, by balls around real or generated images.

    precision: share of generated images within the distance of some real image's third nearest
    other; recall: the same with the sides exchanged (Kynkaanniemi et al. 2019). density: mean
    number of real balls, up to the fifth nearest, around a generated image, over 5; coverage: share
    of those balls that hold a generated image (Naeem et al. 2020).

    The jackknife keeps the balls' sizes when it leaves images out.

    Raises:
        ValueError: if there are fewer images than the jackknife needs.
    """
    real_3, real_5 = radii(real, K_PRECISION, K_DENSITY)
    (fake_3,) = radii(fake, K_PRECISION)
    (group_of_fake, group_of_real), lock = (_group_of_each(len(x)) for x in (fake, real)), Lock()
    in_real_3 = np.zeros((len(fake), GROUPS), np.int32)
    in_real_5, in_fake_3 = np.zeros_like(in_real_3), np.zeros((len(real), GROUPS), np.int32)
    hit_5 = np.zeros_like(in_fake_3)
    pairs = Distances(fake, real)

    def count(rows: slice) -> None:
        block, owners = pairs.block(rows), group_of_fake[rows]
        i, j = true_indices(pairs.within(rows, block, real_3, np.less_equal))
        in_real_3[rows] = _table(i, group_of_real[j], len(owners))
        i, j = true_indices(pairs.within(rows, block, real_5, np.less))
        in_real_5[rows] = _table(i, group_of_real[j], len(owners))
        hits = _table(j, owners[i], len(real))
        i, j = true_indices(pairs.within(rows, block, fake_3[rows, None], np.less_equal))
        within = _table(j, owners[i], len(real))
        with lock:  # two blocks may share a group
            np.add(hit_5, hits, out=hit_5)
            np.add(in_fake_3, within, out=in_fake_3)

    map_in_threads(count, pairs.rows)
    return {
        "precision": _estimate(in_real_3, "fake", "real", any_ball=True),
        "recall": _estimate(in_fake_3, "real", "fake", any_ball=True),
        "density": _estimate(in_real_5 / K_DENSITY, "fake", "real", any_ball=False),
        "coverage": _estimate(hit_5, "real", "fake", any_ball=True),
    }


def _group_of_each(count: int) -> np.ndarray:
    """Return the number of each image's group."""
    return np.repeat(np.arange(GROUPS), [part.stop - part.start for part in group_slices(count)])


def _table(rows: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Return the number of pairs by row and group, int32 ``(count, GROUPS)``."""
    numbers = np.bincount(rows * GROUPS + groups, minlength=count * GROUPS)
    return numbers.reshape(count, GROUPS).astype(np.int32)


def _estimate(hits: np.ndarray, scored: str, balls: str, any_ball: bool) -> Estimate:
    """Return the mean of samples' hits, or the share of samples with a hit (``any_ball``).

    ``hits`` ``(N, GROUPS)`` are by the balls' group.
    """
    total = hits.sum(axis=1)
    values = (total > 0).astype(np.float64) if any_ball else total
    without_balls = total[:, None] > hits if any_ball else total[:, None] - hits
    groups, whole = group_slices(len(values)), values.sum()
    rest = [(whole - values[g].sum()) / (len(values) - (g.stop - g.start)) for g in groups]
    without = {scored: np.array(rest), balls: without_balls.mean(axis=0)}
    return Estimate(float(values.mean()), without)
