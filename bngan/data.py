"""Prepared data as memory maps, and the global order in which training visits them."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from bngan.randomness import Stream, generator

Split = Literal["train", "select", "test"]
SPLITS: tuple[Split, ...] = ("train", "select", "test")
UNLABELLED = -1


class ImageSplit:
    """One split of a prepared dataset: files ``<split>_images.npy`` and ``<split>_labels.npy``.

    Attributes:
        images: uint8 ``(N, H, W, C)``, memory-mapped.
        labels: int64 ``(N,)``, ``UNLABELLED`` throughout for data without labels.
    """

    def __init__(self, folder: Path, split: Split) -> None:
        self.images: np.ndarray = np.load(folder / f"{split}_images.npy", mmap_mode="r")
        self.labels: np.ndarray = np.load(folder / f"{split}_labels.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``, as networks count."""
        height, width, channels = self.images.shape[1:]
        return channels, height, width


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return generator(seed, Stream.SAMPLE_ORDER, epoch).permutation(size)


def sample_order(seed: int, start: int, count: int, size: int) -> np.ndarray:
    """Dataset indices ``(count,)`` int64 at positions ``start ...`` of the endless training order.

    The order is one fresh permutation of ``range(size)`` per epoch, a pure function of
    (seed, epoch): every worker can compute it, and training can resume at any position.
    """
    if size < 1:
        raise ValueError("an empty dataset has no sample order")
    positions = np.arange(start, start + count)
    epochs = positions // size
    parts = [
        _permutation(seed, int(epoch), size)[positions[epochs == epoch] % size]
        for epoch in np.unique(epochs)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
