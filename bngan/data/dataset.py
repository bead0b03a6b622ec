"""Prepared data as memory maps, and the global order in which training visits them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from bngan.numerics.rng import Stream, generator

ImageShape = tuple[int, int, int]
"""(C, H, W)."""
Split = Literal["train", "select", "test"]
SPLITS: tuple[Split, ...] = ("train", "select", "test")
UNLABELLED = -1


@dataclass(frozen=True)
class ImageSpec:
    """Shape and classes of the images that networks have to fit."""

    shape: ImageShape
    class_frequencies: tuple[float, ...] = ()
    class_names: tuple[str, ...] = ()
    """Names of the classes by number; empty if they are not known."""

    @property
    def classes(self) -> int:
        """Return the number of classes, 0 for images without labels."""
        return len(self.class_frequencies)


class ImageSplit:
    """Images and labels of one split.

    Attributes:
        images: uint8 ``(N, H, W, C)``, memory-mapped if they come from files.
        labels: int64 ``(N,)``, all ``UNLABELLED`` for data without labels.
        flip: whether each image counts twice, the second time mirrored left to right.
        classes: number of classes, if more exist than occur here.
        class_names: names of the classes by number; empty if they are not known.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        flip: bool = False,
        classes: int = 0,
        class_names: Sequence[str] = (),
    ) -> None:
        self.images, self.flip, self.classes = images, flip, classes
        self.class_names = tuple(class_names)
        self.labels = np.full(len(images), UNLABELLED) if labels is None else labels

    @classmethod
    def load(cls, folder: Path, split: Split, flip: bool = False) -> "ImageSplit":
        """Return one split of a prepared dataset.

        Its files are ``<split>_images.npy`` and ``<split>_labels.npy``. A split of few images may
        lack a class that ``dataset.json`` names.
        """
        images, labels = (
            np.load(folder / f"{split}_{part}.npy", mmap_mode="r", allow_pickle=False)
            for part in ("images", "labels")
        )
        names = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["classes"]
        return cls(images, labels, flip, len(names), names)

    def __len__(self) -> int:
        return len(self.images) * (1 + self.flip)

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return images ``(n, H, W, C)`` and labels ``(n,)``; indices from N on are mirrored."""
        mirrored, chosen = indices >= len(self.images), indices % len(self.images)
        images = self.images[chosen]
        images[mirrored] = images[mirrored, :, ::-1]
        return images, self.labels_of(indices)

    def labels_of(self, indices: np.ndarray) -> np.ndarray:
        """Return labels ``(n,)``, as ``take`` does."""
        return np.asarray(self.labels[indices % len(self.images)])

    @cached_property
    def spec(self) -> ImageSpec:
        """Return the images' shape, as networks take it, and the share and name of each class."""
        height, width, channels = self.images.shape[1:]
        known = self.labels[self.labels != UNLABELLED]
        counts = np.bincount(known, minlength=self.classes)
        shares = counts / len(known) if len(known) else np.zeros(0)
        names = self.class_names if len(known) else ()
        return ImageSpec((channels, height, width), tuple(shares.tolist()), names)


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return generator(seed, Stream.SAMPLE_ORDER, epoch).permutation(size)


def sample_order(seed: int, positions: np.ndarray, size: int) -> np.ndarray:
    """Return dataset indices ``(n,)`` at ``positions`` ``(n,)`` of the endless training order.

    Both are int64. The order is one fresh permutation of ``range(size)`` per epoch, a pure function
    of (seed, epoch): every worker can compute it, and training can resume at any position.

    Raises:
        ValueError: if ``size`` is below 1.
    """
    if size < 1:
        raise ValueError("an empty dataset has no sample order")
    epochs, places = np.divmod(positions, size)
    order = np.empty_like(positions)
    for epoch in np.unique(epochs):
        inside = epochs == epoch
        order[inside] = _permutation(seed, int(epoch), size)[places[inside]]
    return order
