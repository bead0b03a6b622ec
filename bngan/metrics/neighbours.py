"""Distances between features, a block of rows at a time, so that memory stays bounded."""

from collections.abc import Iterator

import numpy as np

_CELLS = 10_000_000
"""Number of distances in memory at a time."""


def squared_distances(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield squared Euclidean distances of ``a`` ``(N, d)`` to ``b`` ``(M, d)``, by blocks of rows.

    They are float32, computed about the mean of ``b``, which keeps cancellation small.
    """
    centre = b.mean(axis=0, dtype=np.float64)
    one, other = (np.ascontiguousarray(x - centre, np.float32) for x in (a, b))
    lengths_a, lengths_b = (np.einsum("nd,nd->n", x, x) for x in (one, other))
    step = max(_CELLS // len(b), 1)
    for start in range(0, len(a), step):
        rows = slice(start, min(start + step, len(a)))
        block = one[rows] @ (-2 * other.T)
        block += lengths_a[rows, None]
        block += lengths_b
        yield rows, block.clip(min=0, out=block)


def radii(samples: np.ndarray, *ks: int) -> list[np.ndarray]:
    """Return each sample's squared distance to its k-th nearest other, ``(N,)``, for every k.

    Raises:
        ValueError: if there are k samples or fewer.
    """
    if len(samples) <= max(ks):
        raise ValueError(f"a {max(ks)}-th neighbour needs more samples than {len(samples)}")
    distances = np.empty((len(ks), len(samples)), np.float32)
    for rows, block in squared_distances(samples, samples):
        own = np.arange(len(block))
        block[own, own + rows.start] = np.inf
        nearest = np.partition(block, [k - 1 for k in ks], axis=1)
        for index, k in enumerate(ks):
            distances[index, rows] = nearest[:, k - 1]
    return list(distances)


def nearest(
    a: np.ndarray, b: np.ndarray, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return squared distance ``(N,)`` and index ``(N,)`` of each sample's nearest in ``b``.

    ``own`` ``(N,)`` gives the samples' own indices in ``b``, which do not count.
    """
    distances, indices = np.empty(len(a), np.float32), np.empty(len(a), np.int64)
    for rows, block in squared_distances(a, b):
        if own is not None:
            block[np.arange(len(block)), own[rows]] = np.inf
        indices[rows] = block.argmin(axis=1)
        distances[rows] = block[np.arange(len(block)), indices[rows]]
    return distances, indices
