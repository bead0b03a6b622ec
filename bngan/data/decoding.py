"""Decode the content of an image file to pixels, or to the reason why there are none.

Any content gives an array of uint8 or a ``ValueError``, within bounds of time and memory.
"""

import io
import struct
import zlib
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from bngan.serialization.problem import one_line

Fit = Literal["crop", "pad", "stretch"]
_FITS: dict[Fit, Any] = {"crop": ImageOps.fit, "pad": ImageOps.pad, "stretch": Image.Image.resize}
MAX_BYTES = 2**28
"""Maximum size of a file; one image of ``_MAX_PIXELS`` pixels has less."""
_MAX_PIXELS = 64_000_000
"""Limit that keeps decoding below a GB. WebP has half, since its decoder keeps four copies."""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_COUNTED = 2**24
"""Size of a file, in bytes, up to which its frames are counted: a frame may have 20 bytes, and the
count visits each."""
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples per pixel by a PNG's kind of colour."""
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
_INTERLACED = (*_PASSES, (0, 1, 1, 2))
"""First column, first row and their steps in the passes of an interlaced PNG."""


class _Unusable(ValueError):
    """Pillow can read the file, but it is no image to train on."""


def decode(content: bytes | OSError | None) -> Image.Image:
    """Return a PIL image in mode L or RGB, upright, with transparency laid over white.

    If a file holds several pictures, as phones write them into JPEG (MPO), the first one counts.
    Animations and documents of several pages are refused. So are floats and integers of more than
    16 bits, because their white is unknown.

    Raises:
        ValueError: if there is no image or it cannot be used; the message gives the reason.
    """
    if content is None:
        raise ValueError("no image")
    if isinstance(content, OSError):
        raise ValueError(f"cannot be read: {one_line(content.strerror or content)}")
    if not content:
        raise ValueError("an empty file")
    if len(content) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES // 2**20} MiB are too much for an image")
    try:
        file = Image.open(io.BytesIO(content), formats=_FORMATS)
        _require_one_picture(file, content)
        ImageOps.exif_transpose(file, in_place=True)
        return _plain(file)
    except _Unusable:
        raise
    except UnidentifiedImageError as error:
        raise ValueError("unreadable: no image format that is known") from error
    except Exception as error:  # Pillow's parsers raise errors of any kind
        raise ValueError(f"unreadable: {one_line(error)}") from error


def convert(image: Image.Image, channels: int, size: int | None, fit: Fit) -> np.ndarray:
    """Return uint8 ``(H, W, channels)`` of a decoded image; ``size`` makes it square by ``fit``."""
    image = _in_mode(image, "L" if channels == 1 else "RGB")
    if size is not None and image.size != (size, size):
        image = _FITS[fit](image, (size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels.reshape(image.height, image.width, channels)


def _require_one_picture(file: Image.Image, content: bytes) -> None:
    """Refuse a file of several pictures or too many pixels, before its pixels are decoded."""
    if getattr(file, "is_animated", False) and file.format != "MPO":
        count = file.n_frames if len(content) < _COUNTED else "several"  # type: ignore[attr-defined]
        raise _Unusable(f"{count} frames: an image must be one picture")
    most = _MAX_PIXELS // 2 if file.format == "WEBP" else _MAX_PIXELS
    if not 0 < file.width * file.height <= most:
        raise _Unusable(f"{file.width}x{file.height} pixels, and 1 to {most:,} can be read")
    if file.format == "PNG":
        _require_all_rows(content)


def _require_all_rows(content: bytes) -> None:
    """Refuse a PNG that ends early or has a wrong checksum: Pillow would leave its rest black."""
    width, height, depth, kind, _, _, interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    expected = sum(
        -(-(height - y) // down)
        * (1 + -(-(-(-(width - x) // right) * depth * _SAMPLES[kind]) // 8))
        for x, y, right, down in (_INTERLACED if interlaced else ((0, 0, 1, 1),))
        if x < width and y < height
    )
    parts, place = [], 8
    while place + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        if name == b"IDAT":
            parts.append(content[place + 8 : place + 8 + length])
        place += 12 + length
    stream, count = zlib.decompressobj(), 0
    for part in parts:
        while count <= expected and (rows := stream.decompress(part, 2**20)):
            count, part = count + len(rows), stream.unconsumed_tail
    if count < expected:
        raise _Unusable(f"unreadable: {count} of {expected} bytes of its pixels are there")


def _plain(image: Image.Image) -> Image.Image:
    """Return the image in mode L or RGB."""
    if image.mode == "F":
        raise _Unusable("floating-point pixels: save them with 8 or 16 bits")
    if image.mode.startswith("I"):
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise _Unusable("pixels of more than 16 bits: save them with 8 or 16")
        return Image.fromarray((levels >> 8).astype(np.uint8))
    if image.has_transparency_data:
        layer = _in_mode(image, "RGBA")
        grey = image.mode in ("1", "L", "LA", "La")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        return image.convert("L" if grey else "RGB")
    return _in_mode(image, "L" if image.mode in ("1", "L") else "RGB")


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)
