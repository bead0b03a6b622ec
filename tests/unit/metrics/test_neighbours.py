"""Nearest neighbours."""

import numpy as np
import pytest

from bngan.metrics.neighbours import nearest, radii
from tests.unit.metrics.test_precision_recall import distances, normal


def test_neighbours_are_the_nearest() -> None:
    a, b = normal(0, 50, 5), normal(1, 70, 5)
    apart = distances(a, b)
    squared, index = nearest(a, b)
    np.testing.assert_array_equal(index, apart.argmin(1))
    np.testing.assert_allclose(squared, apart.min(1) ** 2, rtol=1e-4)
    _, index = nearest(b[10:20], b, np.arange(10, 20))
    np.testing.assert_array_equal(index, np.argsort(distances(b[10:20], b), axis=1)[:, 1])
    np.testing.assert_allclose(
        radii(b, 2, 7)[1], np.sort(distances(b, b), axis=1)[:, 7] ** 2, rtol=1e-4
    )
    with pytest.raises(ValueError, match="7-th neighbour needs more samples than 7"):
        radii(b[:7], 7)
