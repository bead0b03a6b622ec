"""Find images to select and test with that are nearly the same as one in train.

Small grey thumbnails without their brightness and contrast are compared, so that another compression
or size, a crop of a few percent, a shift by a pixel and the next frame of a video stay close. Distances
between different images depend on the data: two digits ``1`` are as close as two frames of a film.
An image is a near-duplicate only if its neighbour in train is far closer than is usual around it.
``docs/data.md`` has the measurements behind the constants.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bngan.data.dataset import Split
from bngan.numerics.threads import limit_blas_threads
from pipeline.data.digests import ImageDigests

_SIDE = 16
"""Most rows and columns of a thumbnail."""
_PROBES = 2000
"""Most images of a split that are looked at."""
_PLAIN = 8.0
"""Standard deviation of a thumbnail's levels, of 255, under which noise and rounding decide."""
_NEIGHBOURS = 10
"""Number of neighbours that show which distances are usual."""
_MANY = 2000
"""Number of images in train from which on the last of these neighbours is a usual image. Among fewer
ones it may be of another kind, as a digit 1 among few is followed by other digits."""
_CLOSE = 0.2
"""Largest distance among many images, relative to that of the last neighbour."""
_JUMP = 0.125
"""Largest distance among few images, relative to that of the next neighbour, at one of them."""
_SAME = 0.03
"""Distance, relative to the contrast, up to which images are the same whatever is usual: frames of a
still camera all have such neighbours."""
_SHOWN = 16
"""Most pairs of a split in a picture."""
_VALUES = 4_000_000
"""Number of pixels, or of distances, in memory at a time."""


@dataclass(frozen=True)
class NearDuplicates:
    """Images of a split that are nearly the same as one in train.

    Attributes:
        looked_at: number of images of the split that were compared.
        images: indices of those that have a near-duplicate, ``(n,)``.
        twins: indices of their nearest images in train, ``(n,)``.
    """

    looked_at: int
    images: np.ndarray
    twins: np.ndarray


def near_duplicates(
    images: Mapping[Split, np.ndarray], digests: Mapping[Split, ImageDigests]
) -> dict[Split, NearDuplicates]:
    """Return the near-duplicates of training images in select and test; exact copies do not count.

    ``images`` has uint8 ``(N, H, W, C)`` by split. Every image of a split is compared, or 2,000 that
    are evenly spaced.
    """
    pixels = {split: part.pixels for split, part in digests.items()}
    train = np.sort(np.unique(pixels["train"], return_index=True)[1])
    others: tuple[Split, ...] = ("select", "test")
    looked_at = {split: _spread(len(pixels[split])) for split in others}
    probes = {
        split: chosen[~np.isin(pixels[split][chosen], pixels["train"])]
        for split, chosen in looked_at.items()
    }
    with limit_blas_threads(_SIDE * _SIDE):
        thumbs = [thumbnails(images[split], probes[split]) for split in others]
        distances, twins, count = _neighbours(np.concatenate(thumbs), images["train"], train)
    near = _is_near(distances, count)
    middle = [len(probes["select"])]
    parts = zip(others, np.split(near, middle), np.split(twins, middle), strict=True)
    return {
        split: NearDuplicates(len(looked_at[split]), probes[split][is_near], twin[is_near])
        for split, is_near, twin in parts
    }


def _spread(count: int) -> np.ndarray:
    """Return the indices of all of ``count`` images, or of ``_PROBES`` at equal distances."""
    chosen = min(count, _PROBES)
    return np.arange(chosen) * count // max(chosen, 1)


def thumbnails(images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return grey thumbnails, less their mean, of length 1; zeros, which are far from all, if plain.

    Args:
        images: uint8 ``(N, H, W, C)``.
        chosen: indices ``(n,)``.

    Returns:
        float32 ``(n, h * w)``; the sides are at most 16.
    """
    _, height, width, channels = images.shape
    rows, columns = _averages(height), np.repeat(_averages(width), channels, axis=1) / channels
    flat = np.empty((len(chosen), len(rows) * len(columns)), np.float32)
    for part in _parts(len(chosen), height * width * channels):
        levels = images[chosen[part]].reshape(-1, height, width * channels).astype(np.float32)
        flat[part] = (rows @ (levels @ columns.T)).reshape(len(levels), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    deviation = flat.std(axis=1, keepdims=True)
    length = deviation * np.sqrt(flat.shape[1])
    return np.where(deviation < _PLAIN, 0, flat / np.maximum(length, _PLAIN)).astype(np.float32)


def _averages(side: int) -> np.ndarray:
    """Return a matrix ``(n, side)`` whose rows average equal parts of a side."""
    edges = np.linspace(0, side, min(side, _SIDE) + 1)
    pixels = np.arange(side)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    matrix: np.ndarray = overlap.clip(min=0) / (edges[1] - edges[0])
    return matrix.astype(np.float32)


def _neighbours(
    probes: np.ndarray, images: np.ndarray, train: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the distances of each probe to its nearest images in train.

    Args:
        probes: thumbnails ``(n, d)``.
        images: uint8 ``(N, H, W, C)``.
        train: indices of the images to compare with, ascending.

    Returns:
        distances relative to the contrast, ascending, ``(n, 10)`` or fewer columns; the index of the
        nearest image ``(n,)``; the number of images that are not plain.
    """
    best = np.full((len(probes), _NEIGHBOURS), -np.inf, np.float32)  # correlations
    twins, count = np.zeros(len(probes), np.int64), 0
    for part in _parts(len(train), max(images[0].size, len(probes))):
        thumbs = thumbnails(images, train[part])
        varied = np.flatnonzero(thumbs.any(axis=1))
        count += len(varied)
        if not len(varied):
            continue
        alike = probes @ thumbs[varied].T
        most = alike.max(axis=1)
        nearer, moved = most > best.max(axis=1), most > best.min(axis=1)
        twins[nearer] = train[part][varied[alike[nearer].argmax(axis=1)]]
        merged = np.concatenate([best[moved], alike[moved]], axis=1)
        best[moved] = np.partition(merged, -_NEIGHBOURS, axis=1)[:, -_NEIGHBOURS:]
    nearest_first = -np.sort(-best, axis=1)[:, :count]
    return np.sqrt((2 - 2 * nearest_first).clip(min=0)), twins, count


def _is_near(distances: np.ndarray, count: int) -> np.ndarray:
    """Return whether the nearest of ``count`` images is far closer than is usual, ``(n,)``."""
    near = distances[:, :1] <= _SAME
    if count >= _MANY:
        near |= distances[:, :1] <= _CLOSE * distances[:, -1:]
    else:
        near = np.hstack([near, distances[:, :-1] <= _JUMP * distances[:, 1:]])
    return np.asarray(near.any(axis=1))


def _parts(count: int, size: int) -> Iterator[slice]:
    """Yield slices of ``count`` images, each of about ``_VALUES`` values if one has ``size``."""
    step = max(_VALUES // size, 1)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def pairs(images: Mapping[Split, np.ndarray], found: Mapping[Split, NearDuplicates]) -> np.ndarray:
    """Return images that have a near-duplicate, each followed by that, uint8 ``(n, H, W, C)``.

    There are 16 pairs of each split at most.
    """
    shown = [
        np.stack([images[split][each.images[:_SHOWN]], images["train"][each.twins[:_SHOWN]]], 1)
        for split, each in found.items()
    ]
    return np.concatenate(shown).reshape(-1, *images["train"].shape[1:])


def near_counts(found: Mapping[Split, NearDuplicates]) -> dict[str, int]:
    """Return the entry ``near_duplicates`` of ``contents.json``."""
    counts: dict[str, int] = {}
    for split, each in found.items():
        counts |= {f"{split}_in_train": len(each.images), f"{split}_looked_at": each.looked_at}
    return counts


def near_warning(recorded: Mapping[str, int], counts: Mapping[Any, int]) -> str:
    """Return a warning about near-duplicates, from ``near_counts``; empty if there are none.

    ``recorded`` may be empty, as the inventories of earlier code have no such entry. ``counts`` is the
    number of images of each split.
    """
    parts = [
        f"{recorded[f'{split}_in_train']:,} of {_looked_at(recorded, counts, split)}"
        for split in ("select", "test")
        if recorded.get(f"{split}_in_train")
    ]
    if not parts:
        return ""
    return (
        f"{' and '.join(parts)} are nearly the same as an image in train, as frames of a video or "
        "copies of another size are: scores on them flatter a generator that copies; set data.group "
        "to keep such images together in the splits that bngan makes, or remove them; "
        "near_duplicates.png of the run shows pairs"
    )


def near_line(recorded: Mapping[str, int], counts: Mapping[Any, int]) -> str:
    """Return in a line how many images have a near-duplicate in train; empty without an entry."""
    if not recorded:
        return ""
    parts = (
        f"{recorded[f'{split}_in_train']:,} of {_looked_at(recorded, counts, split)}"
        for split in ("select", "test")
    )
    return f"{' and '.join(parts)} have a near-duplicate in train"


def _looked_at(recorded: Mapping[str, int], counts: Mapping[Any, int], split: str) -> str:
    count = recorded[f"{split}_looked_at"]
    return f"{count:,} {split} images" + (" looked at" if count < counts[split] else "")
