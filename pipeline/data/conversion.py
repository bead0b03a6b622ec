"""Convert splits of raw images to arrays in files."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.format import open_memmap

from bngan.data.dataset import UNLABELLED, Split
from bngan.data.decoding import Decoded, Fit, convert, decode, read_image
from bngan.data.source import Source
from pipeline.core.errors import UserError
from pipeline.data.inventory import listing
from pipeline.data.pixel_counts import PixelCounts

_PEEK = 100
"""Number of images that decide the size, and the channels to begin with."""
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
        white: value that is white in images of 9 to 16 bits; None takes the header's maximum.
    """

    size: int | None
    channels: int | None
    fit: Fit
    white: int | None = None


def image_shape(part: Part, wanted: PixelFormat, path: str) -> tuple[int, int, int]:
    """Return the shape (H, W, C) of the prepared images, as the first ones decide it.

    C is 1 if they are grey; ``write_splits`` makes it 3 if coloured images follow.

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
    """Writes one split's arrays, and keeps the unusable names and hashes of pixels.

    Attributes:
        shape: shape (H, W, C) of the images.
        numbers: int64 ``(N,)``, the class of each image that is written, or ``UNLABELLED``.
        skipped: unusable images, each ``name: why``.
        digests: 8 bytes of a hash of each image's pixels.
        levels: colours, sizes and levels of the images so far.
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
        self.levels = PixelCounts()
        self._kept: list[int] = []
        self._array: np.ndarray | None = None

    def add(self, position: int, decoded: Decoded, wanted: PixelFormat) -> None:
        """Write the image at ``position`` of the split."""
        if self._array is None:
            self._array = open_memmap(self.images, "w+", np.uint8, (len(self.order), *self.shape))
        pixels = convert(decoded.image, self.shape[2], wanted.size, wanted.fit)
        self._array[len(self._kept)] = pixels
        self._kept.append(position)
        self.digests += _digest(pixels)
        self.levels.add(decoded, pixels)

    def make_rgb(self) -> None:
        """Give the images three channels, which are equal for those written so far."""
        self.shape = (*self.shape[:2], 3)
        if self._array is not None:
            self._array = self._rewritten(len(self.order))
            self.digests = bytearray(b"".join(map(_digest, self._array[: len(self._kept)])))

    def close(self) -> None:
        """Write the labels, and shorten the images to those that could be used."""
        if len(self._kept) < len(self.order):
            self._array = self._rewritten(len(self._kept))
        self.numbers = self.numbers[self._kept]
        np.save(self.labels, self.numbers)

    def _rewritten(self, length: int) -> np.ndarray:
        """Copy the images so far, which need not fit into memory, to an array of ``length``."""
        part = self.images.with_suffix(".part")
        array = open_memmap(part, "w+", np.uint8, (length, *self.shape))
        for start in range(0, len(self._kept) if self._array is not None else 0, _CHUNK):
            stop = min(start + _CHUNK, len(self._kept))
            array[start:stop] = self._array[start:stop]  # type: ignore[index]
        array.flush()
        part.replace(self.images)
        return array


def write_splits(writers: Mapping[Split, SplitWriter], wanted: PixelFormat) -> Iterator[None]:
    """Write the arrays of all splits, and yield after every image.

    If ``wanted`` leaves the channels open, the first coloured image of any split makes all images
    RGB, and the result is that of three channels from the start.
    """
    for writer in writers.values():
        for position, (name, content) in enumerate(writer.source.files(writer.order)):
            try:
                decoded = read_image(content, wanted.white)
                width, height = decoded.image.size
                if wanted.size is None and (height, width) != writer.shape[:2]:
                    writer.levels.other_size += 1
                    raise ValueError(f"size {width}x{height}; set data.image_size")
                coloured = decoded.image.mode == "RGB"
                if coloured and wanted.channels is None and writer.shape[2] == 1:
                    for each in writers.values():
                        each.make_rgb()
                writer.add(position, decoded, wanted)
            except ValueError as error:
                writer.skipped.append(f"{name}: {error}")
            yield
        writer.close()


def _digest(pixels: np.ndarray) -> bytes:
    return hashlib.blake2b(pixels.tobytes(), digest_size=8).digest()
