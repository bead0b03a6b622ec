"""Convert one split of raw images to arrays in files."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.format import open_memmap

from bngan.data.dataset import UNLABELLED, Split
from bngan.data.decoding import Fit, convert, decode
from bngan.data.source import Source
from pipeline.core.errors import UserError
from pipeline.data.inventory import listing

_PEEK = 100
"""Number of images that decide the size, and whether all images are grey."""
_CHUNK = 1000


class Part(NamedTuple):
    """Images of a source that make one split.

    Attributes:
        source: the source of the images.
        order: their indices in the source ``(n,)``.
        classes: class of each image of the source, int64 ``(N,)``, or ``UNLABELLED``.
    """

    source: Source
    order: np.ndarray
    classes: np.ndarray

    def labelled(self) -> "Part":
        """Return the part of the images that have a class."""
        return self._replace(order=self.order[self.classes[self.order] != UNLABELLED])


@dataclass(frozen=True)
class PixelFormat:
    """Form of the prepared images, as the keys of ``data`` give it.

    Attributes:
        size: side in pixels; None keeps the images' own size.
        channels: 1 or 3; None lets the images decide.
        fit: way to make an image square.
    """

    size: int | None
    channels: int | None
    fit: Fit


def image_shape(part: Part, wanted: PixelFormat, path: str) -> tuple[int, int, int]:
    """Return the shape (H, W, C) of the prepared images.

    Raises:
        UserError: if no image can be used, or the images differ in size and ``wanted`` has none.
    """
    looked_at, reasons = set[tuple[str, tuple[int, int]]](), list[str]()
    for name, content in part.source.files(part.order[:_PEEK]):
        try:
            image = decode(content)
            looked_at.add((image.mode, image.size))
        except ValueError as error:
            reasons.append(f"{name}: {error}")
    if not looked_at:
        raise UserError(
            f"data.path: none of the first {len(reasons)} images of {path} can be used:\n"
            f"{listing(reasons)}"
        )
    channels = wanted.channels or (1 if {mode for mode, _ in looked_at} == {"L"} else 3)
    if wanted.size:
        return wanted.size, wanted.size, channels
    sizes = sorted({size for _, size in looked_at})
    if min(sizes[0]) < 4:
        raise UserError("data.image_size: images under 4 pixels have to be enlarged: set it")
    if len(sizes) > 1:
        (w0, h0), (w1, h1) = sizes[0], sizes[-1]
        raise UserError(
            f"data.image_size is not set, but images come in several sizes, from {w0}x{h0} to {w1}x{h1}"
        )
    return sizes[0][1], sizes[0][0], channels


class SplitWriter:
    """Decodes one split into its arrays, and keeps the unusable names and hashes of pixels.

    Attributes:
        numbers: int64 ``(N,)``, the class of each image that is written, or ``UNLABELLED``.
        skipped: unusable images, each ``name: why``.
        digests: 8 bytes of a hash of each image's pixels.
    """

    def __init__(
        self,
        folder: Path,
        split: Split,
        part: Part,
        shape: tuple[int, int, int],
    ) -> None:
        self.source, self.order, self.shape = part.source, part.order, shape
        self.images, self.labels = folder / f"{split}_images.npy", folder / f"{split}_labels.npy"
        self.numbers = part.classes[part.order]
        self.skipped: list[str] = []
        self.digests = bytearray()

    def write(self, wanted: PixelFormat) -> Iterator[None]:
        """Write the arrays, and yield after every image."""
        array = open_memmap(self.images, "w+", np.uint8, (len(self.order), *self.shape))
        kept: list[int] = []
        for position, (name, content) in enumerate(self.source.files(self.order)):
            try:
                pixels = convert(decode(content), self.shape[2], wanted.size, wanted.fit)
                if pixels.shape != self.shape:
                    raise ValueError(
                        f"size {pixels.shape[1]}x{pixels.shape[0]}; set data.image_size"
                    )
                array[len(kept)] = pixels
                kept.append(position)
                self.digests += hashlib.blake2b(pixels.tobytes(), digest_size=8).digest()
            except ValueError as error:
                self.skipped.append(f"{name}: {error}")
            yield
        array.flush()
        if len(kept) < len(self.order):
            _shorten(self.images, len(kept))
        self.numbers = self.numbers[kept]
        np.save(self.labels, self.numbers)


def _shorten(path: Path, count: int) -> None:
    """Keep the first ``count`` images of a file, which need not fit into memory."""
    whole, part = np.load(path, mmap_mode="r"), path.with_suffix(".part")
    kept = open_memmap(part, "w+", np.uint8, (count, *whole.shape[1:]))
    for start in range(0, count, _CHUNK):
        kept[start : start + _CHUNK] = whole[start : min(start + _CHUNK, count)]
    kept.flush()
    part.replace(path)
