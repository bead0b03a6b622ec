"""Pixels of 9 to 16 bits per sample, as the file's header declares them, made 8-bit ones.

Pillow reduces colours of 16 bits to their upper 8 and scales some formats by itself. This module
reads the stored values instead, since only they show what a file's white is.
"""

import io
import math
import sys
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from bngan.data import png
from bngan.data.pillow_internals import load_as, load_ppm_text, ppm_maximum, ppm_place, raw_mode

MAX_PIXELS = 64_000_000
"""Limit that keeps decoding below a GB."""
_WIDE = "save them with 8 or 16 bits"
_FORMATS = {2: f"signed pixels: {_WIDE}, unsigned", 3: f"floating-point pixels: {_WIDE}"}
"""Reasons by values of TIFF's SampleFormat; 1 is unsigned and 4 undefined."""
_BITS, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT = 258, 262, 284, 339
_NATIVE = "L" if sys.byteorder == "little" else "B"


class Unusable(ValueError):
    """Pillow can read the file, but it is no image to train on."""


@dataclass(frozen=True)
class Samples:
    """The values that a file stores.

    Attributes:
        values: uint16 ``(H, W)``, or ``(H, W, C)`` with C of 2 (grey, alpha), 3 or 4.
        maximum: largest value that the header allows.
        white_is_zero: whether 0 is white, and larger values are darker.
        transparent: value of the pixels that are transparent, one per sample of colour.
    """

    values: np.ndarray
    maximum: int
    white_is_zero: bool = False
    transparent: tuple[int, ...] = ()

    @property
    def colour(self) -> np.ndarray:
        """``values`` without alpha."""
        return self.values[..., :-1] if self._has_alpha else self.values

    @property
    def _has_alpha(self) -> bool:
        return self.values.ndim == 3 and self.values.shape[2] in (2, 4)

    def image(self, white: int | None) -> Image.Image:
        """Return an image in mode L, LA, RGB or RGBA, with transparent values in white.

        ``white`` is the value that is white. None takes the header's maximum, and so do files
        whose maximum is smaller; larger values are clipped.
        """
        levels = to_8_bits(self.colour, min(white or self.maximum, self.maximum))
        if self.white_is_zero:
            np.subtract(255, levels, out=levels)
        if self.transparent:
            unseen = self.colour == np.array(self.transparent, np.uint16)
            levels[unseen.all(axis=2) if unseen.ndim == 3 else unseen] = 255
        elif self._has_alpha:
            levels = np.dstack([levels, to_8_bits(self.values[..., -1], self.maximum)])
        return Image.fromarray(levels)


def to_8_bits(values: np.ndarray, white: int) -> np.ndarray:
    """Return uint8 levels, ``floor(255.999 * value / white)``; larger values become 255.

    For a white of ``2^n - 1`` these are the upper 8 of n bits.
    """
    scaled: np.ndarray = np.minimum(values, np.float32(white), dtype=np.float32)
    scaled *= np.float32(255.999 / white)
    return scaled.astype(np.uint8)


def open_image(content: bytes, formats: tuple[str, ...]) -> ImageFile.ImageFile:
    """Open an image file whose pixels are not decoded yet."""
    file = Image.open(io.BytesIO(content), formats=formats)
    if not isinstance(file.info.get("xmp", b""), bytes):  # Pillow would fail when it loads pixels
        del file.info["xmp"]
    return file


def require_size(file: Image.Image, most: int = MAX_PIXELS) -> None:
    """Raise ``Unusable`` if the image has no pixels or more than ``most``."""
    if not 0 < file.width * file.height <= most:
        raise Unusable(f"{file.width}x{file.height} pixels, and 1 to {most:,} can be read")


def read_samples(file: ImageFile.ImageFile, content: bytes, white: int | None) -> Samples | None:
    """Return the values of an opened file; None if it has 8 bits or fewer.

    Raises:
        Unusable: if the header declares values whose white is unknown.
    """
    if file.mode == "F":
        raise Unusable(_FORMATS[3])
    if file.format == "PNG" and png.depth_and_kind(content)[0] == 16:
        return _of_png(file, content)
    if isinstance(file, TiffImageFile):
        return _of_tiff(file, content, white)
    if file.format == "PPM":
        return _of_ppm(file, content)
    return None


def _of_png(file: ImageFile.ImageFile, content: bytes) -> Samples:
    kind, transparent = png.depth_and_kind(content)[1], file.info.get("transparency", ())
    if kind == 0:
        file.load()
        levels = transparent if transparent == () else (transparent,)
        return Samples(np.asarray(file), 65535, transparent=levels)
    require_size(file, MAX_PIXELS // 2)
    if kind == 4:  # four bytes a pixel, like RGBA
        pairs = np.asarray(load_as(file, "RGBA", "RGBA"))
        return Samples(_joined(pairs[..., ::2], pairs[..., 1::2]), 65535)
    return Samples(_colours(file, content), 65535, transparent=transparent)


def _of_tiff(file: TiffImageFile, content: bytes, white: int | None) -> Samples | None:
    bits, tags = max(file.tag_v2.get(_BITS, (1,))), file.tag_v2
    photometric = tags.get(_PHOTOMETRIC, 0)
    if bits > 16:
        raise Unusable(f"pixels of more than 16 bits: {_WIDE}")
    for number in tags.get(_SAMPLE_FORMAT, (1,)):
        if number in _FORMATS:
            raise Unusable(_FORMATS[number])
    if photometric == 8:
        raise Unusable("LAB colours: save them as RGB")
    if bits <= 8 or file.mode == "CMYK":
        return None
    if file.mode.startswith("I"):
        file.load()
        return Samples(np.asarray(file), 2**bits - 1, white_is_zero=photometric == 0)
    if tags.get(_PLANES, 1) != 1:
        raise Unusable("pixels of 16 bits in separate planes: save them pixel by pixel")
    if "RGBa" in raw_mode(file):
        if white is not None:
            raise Unusable("colours of 16 bits that are multiplied by alpha, and data.white is set")
        return None
    require_size(file, MAX_PIXELS // 2)
    return Samples(_colours(file, content), 65535)


def _of_ppm(file: ImageFile.ImageFile, content: bytes) -> Samples | None:
    maximum, place = ppm_maximum(file), ppm_place(file)
    if maximum < 256:
        return None
    shape = (file.height, file.width, 3) if file.mode == "RGB" else (file.height, file.width)
    if place is None:
        require_size(file, MAX_PIXELS // 8)  # Pillow's reader of text is slow and large
        scaled = load_ppm_text(file) * (maximum / 65535)
        return Samples(np.rint(scaled).astype(np.uint16).reshape(shape), maximum)
    require_size(file, MAX_PIXELS // (2 if file.mode == "RGB" else 1))
    if place + 2 * math.prod(shape) > len(content):
        raise Unusable("unreadable: image file is truncated")
    values = np.frombuffer(content, ">u2", math.prod(shape), place)
    return Samples(values.reshape(shape), maximum)


def _colours(file: ImageFile.ImageFile, content: bytes) -> np.ndarray:
    """Return uint16 ``(H, W, C)`` of a file whose colours Pillow reads as their upper 8 bits.

    A second reading, with the other order of bytes, gives the lower 8.
    """
    other, mode = open_image(content, (str(file.format),)), raw_mode(file)
    order = _NATIVE if mode[-1] == "N" else mode[-1]
    upper = load_as(file, file.mode, mode)
    lower = load_as(other, file.mode, mode[:-1] + ("B" if order == "L" else "L"))
    return _joined(np.asarray(upper), np.asarray(lower))


def _joined(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    values = upper.astype(np.uint16)
    values <<= 8
    values |= lower
    return values
