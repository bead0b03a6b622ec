"""Convert raw images to arrays in files."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.lib.format import open_memmap

from bngan.data.decoding import Decoded, Fit, convert, decode, read_image
from bngan.data.source import Source
from pipeline.core.errors import UserError
from pipeline.data.digests import ImageDigests, digest64
from pipeline.data.inventory import listing
from pipeline.data.pixel_counts import PixelCounts

_PEEK = 100
"""Number of images that decide the size, and the channels to begin with."""
_CHUNK = 1000


@dataclass(frozen=True)
class PixelFormat:
    """Form of the prepared images, as the keys of ``data`` give it.

    Attributes:
        size: (H, W) in pixels; None keeps the images' own size.
        channels: 1 or 3; None lets the images decide.
        fit: way to bring an image to ``size``.
        white: value that is white in images of 9 to 16 bits; None takes the header's maximum.
    """

    size: tuple[int, int] | None
    channels: int | None
    fit: Fit
    white: int | None = None


def image_shape(
    source: Source, order: np.ndarray, wanted: PixelFormat, path: str
) -> tuple[int, int, int]:
    """Return the shape (H, W, C) of the prepared images, as the first ones at ``order`` decide it.

    C is 1 if they are grey; ``convert_images`` makes it 3 if coloured images follow.

    Raises:
        UserError: if no image can be used, or the images differ in size and ``wanted`` has none.
    """
    looked_at, reasons = set[tuple[str, tuple[int, int]]](), list[str]()
    for name, content in source.files(order[:_PEEK]):
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
        return *wanted.size, channels
    sizes = sorted({size for _, size in looked_at})
    if min(sizes[0]) < 4:
        raise UserError("data.image_size: images under 4 pixels have to be enlarged: set it")
    if len(sizes) > 1:
        (w0, h0), (w1, h1) = sizes[0], sizes[-1]
        raise UserError(
            f"data.image_size is not set, but images come in several sizes, from {w0}x{h0} to {w1}x{h1}"
        )
    return sizes[0][1], sizes[0][0], channels


class ImagePool:
    """Converts images of a source to one array, from which splits are taken.

    Attributes:
        source: the source.
        chosen: indices of its images that are converted, ascending ``(n,)``.
        shape: shape (H, W, C) of the images.
        skipped: unusable images, each ``name: why``.
        levels: colours, sizes and levels of the images so far.
        used: indices of the images in the array.
        files: digest of the encoded bytes of each of them.
        keys: key of the encoded bytes of each of them; empty if no key is asked for.
        decoded: 64 bits of a hash of each one's pixels before they are resized; empty likewise.
    """

    def __init__(
        self, file: Path, source: Source, chosen: np.ndarray, shape: tuple[int, int, int]
    ) -> None:
        self.file, self.source, self.chosen, self.shape = file, source, chosen, shape
        self.skipped: list[str] = []
        self.levels = PixelCounts()
        self.used: list[int] = []
        self.files: list[int] = []
        self.keys: list[int] = []
        self.decoded: list[int] = []
        self._array = open_memmap(file, "w+", np.uint8, (len(chosen), *shape))

    def add(self, index: int, content: bytes, decoded: Decoded, wanted: PixelFormat) -> None:
        """Append an image, which is the source's image ``index``."""
        pixels = convert(decoded.image, self.shape[2], wanted.size, wanted.fit)
        self._array[len(self.used)] = pixels
        self.used.append(index)
        self.files.append(digest64(content))
        self.levels.add(decoded, pixels)

    def identify(self, key: int, decoded: Decoded) -> None:
        """Remember what the last image is known by, whatever else there is."""
        self.keys.append(key)
        size = repr(decoded.image.size).encode()
        self.decoded.append(digest64(decoded.image.convert("RGB").tobytes() + size))

    def make_rgb(self) -> None:
        """Give the images three channels, which are equal for those converted so far."""
        self.shape = (*self.shape[:2], 3)
        part = self.file.with_suffix(".part")
        array = open_memmap(part, "w+", np.uint8, (len(self.chosen), *self.shape))
        for start in range(0, len(self.used), _CHUNK):
            chunk = slice(start, min(start + _CHUNK, len(self.used)))
            array[chunk] = self._array[chunk]
        part.replace(self.file)
        self._array = array

    def write(self, file: Path, order: np.ndarray) -> ImageDigests:
        """Write the images at ``order``, source indices without unusable ones, into ``file``.

        Returns:
            the digests of the images, in this order.
        """
        places = np.full(len(self.source), -1)
        places[self.used] = np.arange(len(self.used))
        array = open_memmap(file, "w+", np.uint8, (len(order), *self.shape))
        pixels = np.empty(len(order), np.uint64)
        for start in range(0, len(order), _CHUNK):
            images = self._array[places[order[start : start + _CHUNK]]]
            array[start : start + len(images)] = images
            pixels[start : start + len(images)] = [digest64(image.tobytes()) for image in images]
        array.flush()
        return ImageDigests(pixels, np.array(self.files, np.uint64)[places[order]])


def convert_images(
    pools: Collection[ImagePool], wanted: PixelFormat, key: Callable[[bytes], int] | None
) -> Iterator[None]:
    """Convert the images of all pools, and yield after every image.

    If ``wanted`` leaves the channels open, the first coloured image of any pool makes all images
    RGB, and the result is that of three channels from the start. ``key`` is a function of an image's
    encoded bytes; None if nothing asks for keys.
    """
    for pool in pools:
        contents = pool.source.files(pool.chosen)
        for index, (name, content) in zip(pool.chosen, contents, strict=True):
            try:
                decoded = read_image(content, wanted.white)
                width, height = decoded.image.size
                if wanted.size is None and (height, width) != pool.shape[:2]:
                    pool.levels.other_size += 1
                    raise ValueError(f"size {width}x{height}; set data.image_size")
                coloured = decoded.image.mode == "RGB"
                if coloured and wanted.channels is None and pool.shape[2] == 1:
                    for each in pools:
                        each.make_rgb()
                encoded = cast(bytes, content)
                pool.add(int(index), encoded, decoded, wanted)
                if key:
                    pool.identify(key(encoded), decoded)
            except ValueError as error:
                pool.skipped.append(f"{name}: {error}")
            yield
