"""Precision and recall, density and coverage: quality and variety of generated images."""

import numpy as np

from bngan.metrics.jackknife import GROUPS, Estimate, group_slices
from bngan.metrics.neighbours import Distances, radii

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
    groups_fake, groups_real = ([part.start for part in group_slices(len(x))] for x in (fake, real))
    in_real_3 = np.empty((len(fake), GROUPS), np.int32)
    in_real_5, in_fake_3 = np.empty_like(in_real_3), np.zeros((len(real), GROUPS), np.int32)
    hit_5 = np.zeros_like(in_fake_3)
    group_of = np.searchsorted(groups_fake, np.arange(len(fake)), side="right") - 1
    pairs = Distances(fake, real)
    for rows, block in pairs.blocks():
        inside = pairs.within(rows, block, real_3, np.less_equal)
        in_real_3[rows] = np.add.reduceat(inside, groups_real, axis=1, dtype=np.int32)
        inside = pairs.within(rows, block, real_5, np.less)
        in_real_5[rows] = np.add.reduceat(inside, groups_real, axis=1, dtype=np.int32)
        owners, starts = np.unique(group_of[rows], return_index=True)
        within = pairs.within(rows, block, fake_3[rows, None], np.less_equal)
        in_fake_3[:, owners] += np.add.reduceat(within, starts, axis=0, dtype=np.int32).T
        hit_5[:, owners] += np.add.reduceat(inside, starts, axis=0, dtype=np.int32).T
    return {
        "precision": _estimate(in_real_3, "fake", "real", any_ball=True),
        "recall": _estimate(in_fake_3, "real", "fake", any_ball=True),
        "density": _estimate(in_real_5 / K_DENSITY, "fake", "real", any_ball=False),
        "coverage": _estimate(hit_5, "real", "fake", any_ball=True),
    }


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
