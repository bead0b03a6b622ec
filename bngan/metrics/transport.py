"""Sliced transport between two sets of images, and what each image adds to it."""

import math

import numpy as np

from bngan.metrics.jackknife import Estimate, group_slices
from bngan.numerics.rng import Stream, generator
from bngan.numerics.threads import map_in_threads

_CELLS = 1_000_000
"""Number of projections of a side that a thread has in memory at a time."""
_ROWS = 32
"""Number of directions at a time, at least: products of fewer are slow."""


def unit_directions(count: int, width: int, seed: int) -> np.ndarray:
    """Return random unit vectors ``(count, width)``, float64."""
    vectors = generator(seed, Stream.DIRECTIONS).standard_normal((count, width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def sliced_transport(
    fake: np.ndarray, real: np.ndarray, directions: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the mean squared transport distance along ``directions`` ``(M, d)``, and potentials.

    Sets are ``(N, P, d)``: P vectors of each of N images. Along a direction, transport joins the
    sorted projections, which have the sets' type; sums are float64. The potentials ``(2, N)`` are
    the distance's derivatives by the weights of fake and of real images, up to a constant for each
    side (Kantorovich).

    Raises:
        ValueError: for different shapes, or values that are not finite.
    """
    if fake.shape != real.shape:
        raise ValueError(f"transport needs equal sets, got {fake.shape} and {real.shape}")
    if not (np.isfinite(fake).all() and np.isfinite(real).all()):
        raise ValueError("transport needs finite features, and one is infinite or no number")
    images, parts, width = fake.shape
    directions = directions.astype(np.result_type(fake, real))
    sides = [x.reshape(-1, width).T for x in (fake, real)]
    step = max(_CELLS // (images * parts), _ROWS)

    def transport(start: int) -> tuple[float, np.ndarray]:
        total, potentials = 0.0, np.zeros((2, images * parts))
        ours, theirs = (directions[start : start + step] @ side for side in sides)
        for one, other in zip(ours, theirs, strict=True):
            total += _add_transport(one, other, potentials)
        return total, potentials.reshape(2, images, parts).sum(axis=2)

    blocks = map_in_threads(transport, range(0, len(directions), step))
    scale = 1 / (len(directions) * parts)
    value = scale * math.fsum(total for total, _ in blocks) / images
    return value, scale * np.sum([each for _, each in blocks], axis=0)


def _add_transport(fake: np.ndarray, real: np.ndarray, potentials: np.ndarray) -> float:
    """Return the sum of squared differences between sorted numbers ``(n,)``.

    The transport's potentials, up to a constant for each side, are added to ``potentials``
    ``(2, n)``. The derivative of a potential at x is 2 (x - T(x)) for the transport T; between two
    neighbours the trapezoidal rule integrates it.
    """
    orders = fake.argsort(), real.argsort()
    one, other = (
        x[order].astype(np.float64) for x, order in zip((fake, real), orders, strict=True)
    )
    apart = one - other
    slopes = apart[1:] + apart[:-1]
    for mine, x, order, sign in zip(potentials, (one, other), orders, (1, -1), strict=True):
        mine[order[1:]] += sign * np.cumsum(slopes * np.diff(x))
    return float(apart @ apart)


def transport_estimate(value: float, potentials: np.ndarray) -> Estimate:
    """Return a distance with first-order values without each group (infinitesimal jackknife).

    ``potentials`` ``(2, N)`` are derivatives by the weights of fake and of real images. Transport
    joins equal sets, and a set without a group would have fewer images.

    Raises:
        ValueError: if there are fewer images than the jackknife needs.
    """
    groups = group_slices(potentials.shape[1])
    return Estimate(
        value,
        {
            name: np.array([value - _change(mine, group) for group in groups])
            for name, mine in zip(("fake", "real"), potentials, strict=True)
        },
    )


def _change(potentials: np.ndarray, group: slice) -> float:
    """Return the change of a distance by a group: its potentials above the mean, over the rest."""
    part = potentials[group]
    return float((part - potentials.mean()).sum() / (len(potentials) - len(part)))
