"""Divide images into splits: each by its own content, or all by their order.

By content, the split of an image follows from a hash of the seed and its encoded bytes alone. Images
that are added or removed move no other image. By order, one permutation of all images makes the splits.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bngan.data.dataset import Split
from bngan.numerics.rng import Stream, generator

KEY_BITS = 64
"""Bits of a key. The share of keys below ``share * 2**KEY_BITS`` is ``share``."""


@dataclass(frozen=True)
class Shares:
    """Sizes of the splits that are taken out of images.

    Attributes:
        select: share of the images to select with.
        test: share of the images to test with; 0 if they are elsewhere.
        fewest: least number of images in each split whose share is not 0.
    """

    select: float
    test: float
    fewest: int = 0


def content_key(seed: int, content: bytes) -> int:
    """Return the key of an image's encoded bytes, or of a group's name, in [0, 2^64)."""
    salt = seed.to_bytes(8, "little")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8, key=salt).digest(), "little")


def by_order(seed: int, count: int, select: int, test: int) -> dict[Split, np.ndarray]:
    """Return random splits of ``count`` images, as indices: ``select`` and ``test`` have so many."""
    order = permutation(seed, count)
    return {
        "train": order[test + select :],
        "select": order[test : test + select],
        "test": order[:test],
    }


def permutation(seed: int, count: int, part: int = 0) -> np.ndarray:
    """Return a random order of ``count`` images; ``part`` is 1 for a test split of the data."""
    return generator(seed, Stream.SPLIT, part).permutation(count)


def joined_keys(keys: np.ndarray, *labels: Sequence[object] | np.ndarray) -> np.ndarray:
    """Return the keys ``(N,)`` with one value for images that belong together: the smallest.

    Args:
        keys: uint64 ``(N,)``.
        labels: sequences of N values, such as hashes of pixels. Two images belong together if they
            have the same value in one of them, or if a chain of images joins them.
    """
    from scipy.sparse import coo_array  # every command imports this module, and few come here
    from scipy.sparse.csgraph import connected_components

    count = len(keys)
    if not count:
        return keys
    rows, columns, size = [], [], count
    for values in labels:
        _, numbers = np.unique(np.asarray(values), return_inverse=True)
        rows.append(np.arange(count))
        columns.append(size + numbers.ravel())
        size += int(numbers.max()) + 1
    row, column = (np.concatenate([*parts, np.zeros(0, np.int64)]) for parts in (rows, columns))
    graph = coo_array((np.ones(len(row), np.int8), (row, column)), shape=(size, size))
    _, part = connected_components(graph, directed=False)
    smallest = np.full(size, np.iinfo(np.uint64).max)
    np.minimum.at(smallest, part[:count], keys)
    return np.asarray(smallest[part[:count]])


def by_content(keys: np.ndarray, shares: Shares) -> dict[Split, np.ndarray]:
    """Return the images of each split, as indices of ``keys`` uint64 ``(N,)``, in the order of keys.

    Images to test with have the lowest keys, those to select with the next ones. If a share gives fewer
    than ``shares.fewest`` images, the split takes the next keys as well.
    """
    order = np.argsort(keys, kind="stable")
    ordered, start = keys[order], 0
    bound, splits = 0.0, dict[Split, np.ndarray]()
    for split, share in (("test", shares.test), ("select", shares.select)):
        bound += share
        stop = int(np.searchsorted(ordered, np.uint64(int(bound * 2**KEY_BITS))))
        stop = min(max(stop, start + (shares.fewest if share else 0), start), len(keys))
        while 0 < stop < len(keys) and ordered[stop] == ordered[stop - 1]:  # one group
            stop += 1
        splits[split] = order[start:stop]  # type: ignore[index]
        start = stop
    splits["train"] = order[start:]
    return splits
