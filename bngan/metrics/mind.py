"""Monge Inception Distance: the mean squared transport distance along random directions."""

import numpy as np

from bngan.metrics.jackknife import Estimate
from bngan.metrics.transport import sliced_transport, transport_estimate, unit_directions

DIRECTIONS = 1000


def mind_directions(width: int, sha256: str) -> np.ndarray:
    """Return the unit vectors ``(DIRECTIONS, width)`` that go with an extractor's hash (hex)."""
    return unit_directions(DIRECTIONS, width, int(sha256[:16], 16))


def mind_estimate(fake: np.ndarray, real: np.ndarray, sha256: str) -> Estimate:
    """Return MIND of features ``(N, d)`` along ``mind_directions`` (arXiv 2605.06797).

    MIND is 3d times the mean, over directions and images, of the squared differences between sorted
    projections. A shift of all features by v raises it from 0 to about 3 |v|^2. It is the formula
    of ``mind_features_to_metric`` in torch-fidelity, in float64 and with directions of our own.

    Raises:
        ValueError: for different shapes, fewer images than the jackknife needs, or features that
            are not finite.
    """
    width = real.shape[1]
    ours, theirs = (x[:, None].astype(np.float64) for x in (fake, real))
    value, potentials = sliced_transport(ours, theirs, mind_directions(width, sha256))
    return transport_estimate(3 * width * value, 3 * width * potentials)
