"""Exact distances between features, a block of rows at a time, so that memory stays bounded.

Matrix products give all distances as |a|^2 + |b|^2 - 2ab in float32, about the mean of ``b``. This
form cancels for samples that are much nearer to each other than to the mean, and it rounds ties
apart. Where its rounding could decide about many pairs, as between the images of a collapsed
generator, float64 products about a sample in their middle replace it: the error falls with the
distance to the centre. Sums of squared differences decide about the pairs that are left.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bngan.numerics.threads import map_in_threads

_CELLS = 4_000_000
"""Number of distances that a thread has in memory at a time."""
_CACHED = 100_000
"""Number of values that stay in a processor's cache."""
_FEW = 32
"""Number of pairs of a row that are compared by differences, if more are undecided."""
_FOLD = 64
"""Number of columns of a block whose minimum stands for them."""
_CENTRES = 4
"""Number of centres that follow one another. Each lowers the error by 10^9 or more, until it is
small beside the distances themselves; pairs that are left are ties."""


class Pairs(NamedTuple):
    """Pairs of samples, in the order of ``i``, then of distances, then of ``j``."""

    i: np.ndarray
    j: np.ndarray
    distances: np.ndarray
    """Exact squared distances."""


class Distances:
    """Squared Euclidean distances of ``a`` ``(N, d)`` to ``b`` ``(M, d)``.

    Args:
        a: features.
        b: features.
        centre: origin of the products ``(d,)``, float64; None: the mean of ``b``.
        centres_left: number of centres that may follow it.
        precision: type of the products.

    Attributes:
        rows: slices of ``a``, each of the rows of a block.

    Raises:
        ValueError: if a feature is infinite or not a number.
    """

    def __init__(
        self,
        a: np.ndarray,
        b: np.ndarray,
        centre: np.ndarray | None = None,
        centres_left: int = _CENTRES,
        precision: type[np.floating] = np.float32,
    ) -> None:
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise ValueError("distances need finite features, and one is infinite or no number")
        self.a, self.b, self.centres_left = a, b, centres_left
        self.rows = list(_parts(len(a), len(b)))
        self.centre = b.mean(axis=0, dtype=np.float64) if centre is None else centre
        self.precision = np.finfo(precision)
        # A power of two keeps squares in the range of float32; blocks and lengths are scaled by it.
        sizes = [self._lengths(x) for x in (a, b)]
        longest = max(float(x.max(initial=0)) for x in sizes)
        self.scale = 2.0 ** -math.ceil(math.log2(longest) / 2) if longest else 1.0
        self.lengths_a, self.lengths_b = (x * self.scale**2 for x in sizes)
        self._columns = self._terms(b, self.scale, self.lengths_b, 1.0)
        # The bound of a distance's error, relative to |a|^2 + |b|^2: products and sums of d numbers,
        # in any order, round d times by half of eps in the lengths, and twice as much in the whole
        # sum; the other operations are less than 16. Below it there is what underflows.
        operations = 1.5 * a.shape[1] + 8
        self.rounding = operations * float(self.precision.eps)
        self.least = 64 * operations * float(self.precision.tiny)

    def _lengths(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [_squares(x[part] - self.centre) for part in _parts(len(x), x.shape[1], _CACHED)]
        )

    def _terms(self, x: np.ndarray, factor: float, *more: np.ndarray | float) -> np.ndarray:
        """Return the centred samples times ``factor``, and two columns ``more``: ``(n, d + 2)``."""
        terms = np.empty((len(x), x.shape[1] + 2), self.precision.dtype)
        for part in _parts(len(x), x.shape[1], _CACHED):
            terms[part, :-2] = (x[part] - self.centre) * factor
        terms[:, -2], terms[:, -1] = more
        return terms

    def block(self, rows: slice) -> np.ndarray:
        """Return scaled distances ``(n, M)`` of some rows, which are rounded and may be negative."""
        left = self._terms(self.a[rows], -2 * self.scale, 1.0, self.lengths_a[rows])
        distances: np.ndarray = left @ self._columns.T
        return distances

    def _nearer(
        self, rows: slice, block: np.ndarray, undecided: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray, "Distances"]]:
        """Take groups of rows out of ``undecided``, those with more than ``_FEW`` such pairs.

        Yields:
            indices of rows in the block, ascending; indices of all their undecided columns,
            ascending; the distances of the former to the latter, about a column that is near.
        """
        if not self.centres_left or np.count_nonzero(undecided) <= _FEW * len(undecided):
            return
        many = undecided.sum(axis=1) > _FEW
        while many.any():
            first = many.argmax()
            open_ = np.flatnonzero(undecided[first])
            centre = open_[block[first, open_].argmin()]
            group = np.flatnonzero(many & undecided[:, centre])
            columns = np.flatnonzero(undecided[group].any(axis=0))
            many[group] = undecided[group] = False
            a, b = self.a[rows][group], self.b[columns]
            about = self.b[centre].astype(np.float64)
            yield group, columns, Distances(a, b, about, self.centres_left - 1, np.float64)

    def exact(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Return distances ``(n,)`` of ``a[i]`` to ``b[j]``, by squared differences in float64."""
        distances = np.empty(len(i))
        for part in _parts(len(i), self.a.shape[1], _CACHED):
            difference = self.a[i[part]].astype(np.float64)
            difference -= self.b[j[part]]
            distances[part] = _squares(difference)
        return distances

    def nearest(self, rows: slice, k: int) -> Pairs:
        """Return the pairs of each row with its k nearest samples, and some farther pairs."""
        block = self.block(rows)
        reach = _reach(block, k).astype(np.float64)
        # Rounding moves the k-th distance and, again, each candidate. Near the limit, |b|^2 is at
        # most 2 |a|^2 + 2 |a - b|^2. A part of the margin is left for the limit's own rounding.
        reach += 8 * self.rounding * (self.lengths_a[rows] + reach.clip(min=0)) + self.least
        near = block <= reach[:, None].astype(block.dtype)
        found = [
            Pairs(rows.start + group[i], columns[j], distances)
            for group, columns, nearer in self._nearer(rows, block, near)
            for part in nearer.rows
            for i, j, distances in [nearer.nearest(part, k)]
        ]
        i, j = true_indices(near)
        i += rows.start
        found.append(Pairs(i, j, self.exact(i, j)))
        i, j, distances = (np.concatenate(each) for each in zip(*found, strict=True))
        order = np.lexsort((distances, i))  # stable, and j ascends among equals
        return Pairs(i[order], j[order], distances[order])

    def within(
        self, rows: slice, block: np.ndarray, limits: np.ndarray, compare: np.ufunc
    ) -> np.ndarray:
        """Return whether distances of a block are within ``limits``, as bool ``(n, M)``.

        Args:
            rows: rows of the block.
            block: the block.
            limits: squared distances, ``(M,)`` or ``(n, 1)``.
            compare: ``np.less`` or ``np.less_equal``.
        """
        lengths = self.lengths_b if limits.ndim == 1 else self.lengths_a[rows, None]
        scaled = limits * self.scale**2
        margin = (
            4 * self.rounding * (lengths + scaled) + self.least
        )  # as in nearest, for one rounding
        inside: np.ndarray = block <= (scaled + margin).astype(block.dtype)
        undecided = inside & (block >= (scaled - margin).astype(block.dtype))
        for group, columns, nearer in self._nearer(rows, block, undecided):
            limit = limits[columns] if limits.ndim == 1 else limits[group]
            for part in nearer.rows:
                theirs = limit if limits.ndim == 1 else limit[part]
                decided = nearer.within(part, nearer.block(part), theirs, compare)
                inside[np.ix_(group[part], columns)] = decided
        i, j = true_indices(undecided)
        limit = np.broadcast_to(limits, block.shape)[i, j]
        inside[i, j] = compare(self.exact(i + rows.start, j), limit)
        return inside


def radii(samples: np.ndarray, *ks: int, of: np.ndarray | None = None) -> list[np.ndarray]:
    """Return each sample's squared distance to its k-th nearest other, ``(N,)``, for every k.

    ``of`` are the indices of the samples that count; None: all.

    Raises:
        ValueError: if there are k samples or fewer, or a feature is not finite.
    """
    if len(samples) <= max(ks):
        raise ValueError(f"a {max(ks)}-th neighbour needs more samples than {len(samples)}")
    first, number = _distinct(samples)
    copies = np.bincount(number)
    asked, back = np.unique(number if of is None else number[of], return_inverse=True)
    pairs = Distances(samples[first[asked]], samples[first])
    distances = np.empty((len(ks), len(asked)))

    def search(rows: slice) -> None:
        found = pairs.nearest(rows, min(max(ks) + 1, len(first)))
        seen = np.cumsum(copies[found.j])
        starts = np.searchsorted(found.i, np.arange(rows.start, rows.stop))
        before = seen[starts] - copies[found.j[starts]]
        for index, k in enumerate(ks):  # a sample itself is the first that its row has seen
            place = np.searchsorted(seen, before + k + 1)
            distances[index, rows] = found.distances[place]

    map_in_threads(search, pairs.rows)
    return list(distances[:, back])


def nearest(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return squared distance ``(N,)`` and index ``(N,)`` of each sample's nearest in ``b``.

    The lowest index counts among equally near ones.

    Raises:
        ValueError: if a feature is not finite.
    """
    first, _ = _distinct(b)
    pairs = Distances(a, b[first])
    distances, indices = np.empty(len(a)), np.empty(len(a), np.int64)

    def search(rows: slice) -> None:
        found = pairs.nearest(rows, 1)
        best = np.searchsorted(found.i, np.arange(rows.start, rows.stop))
        distances[rows], indices[rows] = found.distances[best], first[found.j[best]]

    map_in_threads(search, pairs.rows)
    return distances, indices


def _distinct(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first index of each different sample, ascending, and each sample's place in it.

    A generator that has collapsed gives many equal samples, whose distances would all be ties.
    """
    rows = np.ascontiguousarray(samples + 0.0)  # -0.0 equals 0.0
    names = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()
    _, first, number = np.unique(names, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return first[order], place[number]


def _squares(x: np.ndarray) -> np.ndarray:
    """Return the sum of squares of each row, in the place of ``x``."""
    total: np.ndarray = np.square(x, out=x).sum(axis=1)
    return total


def _reach(block: np.ndarray, k: int) -> np.ndarray:
    """Return for each row a bound that at least k of its values do not exceed, and hardly more.

    The k-th smallest of the minima of ``_FOLD`` columns each is such a bound, and soon found. It is
    near if k of many minima are rarely those of one fold.
    """
    width = block.shape[1] // _FOLD
    if width < _FOLD // 4 * k:
        return np.partition(block, k - 1)[:, k - 1]
    folded = block[:, : width * _FOLD].reshape(len(block), _FOLD, width).min(axis=1)
    minima = np.concatenate([folded, block[:, width * _FOLD :]], axis=1)
    return np.partition(minima, k - 1)[:, k - 1]


def true_indices(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of true values; twice as fast as ``np.nonzero`` if few are true."""
    i, j = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return i, j


def _parts(count: int, width: int, most: int | None = None) -> Iterator[slice]:
    """Yield slices of ``count`` rows, each of at most ``most`` values (None: ``_CELLS``)."""
    step = max((most or _CELLS) // width, 1)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
