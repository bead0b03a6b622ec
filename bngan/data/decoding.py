"""Decode the content of an image file to pixels, or to the reason why there are none.

Any content gives an array of uint8 or a ``ValueError``, within bounds of time and memory.
"""

import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, ImagePalette, UnidentifiedImageError

from bngan.data import png
from bngan.data.high_bits import MAX_PIXELS, Unusable, open_image, read_samples, require_size
from bngan.serialization.problem import one_line

Fit = Literal["crop", "pad", "stretch"]
_FITS: dict[Fit, Any] = {"crop": ImageOps.fit, "pad": ImageOps.pad, "stretch": Image.Image.resize}
MAX_BYTES = 2**28
"""Maximum size of a file; one image of ``MAX_PIXELS`` pixels has less."""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
    b"BM": "BMP",
}
_COUNTED = 2**24
"""Size of a file, in bytes, up to which its frames are counted: a frame may have 20 bytes, and the
count visits each."""
_COLOUR_MAP = 320
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Ways to make an image upright, by EXIF's orientation."""


@dataclass(frozen=True)
class Decoded:
    """An image, and the range of the values in its file.

    Attributes:
        image: PIL image in mode L or RGB.
        largest: largest value that the file stores; None for 8 bits per sample or fewer.
        maximum: largest value that the file's header allows.
    """

    image: Image.Image
    largest: int | None
    maximum: int


def decode(content: bytes | OSError | None, white: int | None = None) -> Image.Image:
    """Return ``read_image(content, white).image``."""
    return read_image(content, white).image


def read_image(content: bytes | OSError | None, white: int | None = None) -> Decoded:
    """Return a PIL image in mode L or RGB, upright, with transparency laid over white.

    If a file holds several pictures, as phones write them into JPEG (MPO), the first one counts.
    Animations and documents of several pages are refused. So are floats, signed integers and
    integers of more than 16 bits, because their white is unknown. Metadata that cannot be read are
    no reason to refuse an image.

    Args:
        white: value that is white in grey and RGB images of 9 to 16 bits; None takes the largest
            one that the file's header allows.

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
        return _read_despite_metadata(content, white)
    except Unusable:
        raise
    except UnidentifiedImageError as error:
        raise ValueError(f"unreadable: {_unidentified(content)}") from error
    except Exception as error:  # Pillow's parsers raise errors of any kind
        raise ValueError(f"unreadable: {one_line(error)}") from error


def convert(
    image: Image.Image, channels: int, size: tuple[int, int] | None, fit: Fit
) -> np.ndarray:
    """Return uint8 ``(H, W, channels)`` of a decoded image, brought to ``size`` by ``fit``.

    Args:
        size: (H, W) of the result; None keeps the image's own.
        fit: crop cuts to the shape of ``size``, pad adds black, stretch changes the proportions.
    """
    image = _in_mode(image, "L" if channels == 1 else "RGB")
    if size is not None and (image.height, image.width) != size:
        height, width = size
        image = _FITS[fit](image, (width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels.reshape(image.height, image.width, channels)


def _unidentified(content: bytes) -> str:
    for signature, name in _SIGNATURES.items():
        if content.startswith(signature):
            return f"a damaged {name} file, or one of a kind that is not read"
    return "no image format that is known"


def _read_despite_metadata(content: bytes, white: int | None) -> Decoded:
    try:
        return _read(content, white)
    except Unusable:
        raise
    except Exception:
        if content.startswith(png.SIGNATURE):
            bare = png.without_metadata(content)
        elif content.startswith(b"\xff\xd8\xff"):
            bare = _jpeg_without_metadata(content)
        else:
            raise
    return _read(bare, white)


def _jpeg_without_metadata(content: bytes) -> bytes:
    """Return a JPEG without comments and EXIF, ICC and like segments; Adobe's says the colours."""
    parts, place = [content[:2]], 2
    while content[place] == 0xFF and content[place + 1] != 0xDA:  # 0xDA begins the pixels
        marker, length = struct.unpack_from(">xBH", content, place)
        if not (0xE0 <= marker <= 0xED or marker in (0xEF, 0xFE)):
            parts.append(content[place : place + 2 + length])
        place += 2 + length
    return b"".join([*parts, content[place:]])


def _read(content: bytes, white: int | None) -> Decoded:
    file = open_image(content, _FORMATS)
    _require_one_picture(file, content)
    samples = read_samples(file, content, white)
    if samples is not None:
        image = _upright(_flat(samples.image(white)), file)
        return Decoded(image, int(samples.colour.max()), samples.maximum)
    _mend_header(file, content)
    file.load()
    return Decoded(_upright(_flat(file), file), None, 255)


def _require_one_picture(file: ImageFile.ImageFile, content: bytes) -> None:
    """Refuse a file of several pictures or too many pixels, before its pixels are decoded."""
    if getattr(file, "is_animated", False) and file.format != "MPO":
        count = file.n_frames if len(content) < _COUNTED else "several"  # type: ignore[attr-defined]
        raise Unusable(f"{count} frames: an image must be one picture")
    # WebP's decoder keeps four copies.
    require_size(file, MAX_PIXELS // 2 if file.format == "WEBP" else MAX_PIXELS)
    # Pillow would leave missing rows black, and does not look at these checksums.
    if file.format == "PNG" and (problem := png.problem_of_pixels(content)):
        raise Unusable(f"unreadable: {problem}")


def _mend_header(file: ImageFile.ImageFile, content: bytes) -> None:
    """Correct entries of the header that Pillow takes for others than they are."""
    if file.format == "PNG" and "transparency" in file.info:
        depth, kind = png.depth_and_kind(content)
        largest, level = 2**depth - 1, file.info["transparency"]
        if kind == 0 and depth > 1:  # the pixels are scaled to 8 bits, and the level is not
            file.info["transparency"] = (level & largest) * (255 // largest)
        elif kind == 2:
            file.info["transparency"] = tuple(each & largest for each in level)
    if file.format == "TIFF" and file.mode in ("P", "PA"):
        colours = file.tag_v2[_COLOUR_MAP]  # type: ignore[attr-defined]
        if max(colours) < 256:  # colours of 8 bits, and the format has 16
            file.palette = ImagePalette.raw("RGB;L", bytes(colours))


def _upright(image: Image.Image, file: ImageFile.ImageFile) -> Image.Image:
    """Return the image turned as the EXIF of its loaded file says, if that can be read."""
    try:
        turn = _TURNS.get(file.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow's parsers raise errors of any kind
        turn = None
    return image if turn is None else image.transpose(turn)


def _flat(image: Image.Image) -> Image.Image:
    """Return the image in mode L or RGB. Alpha of 0 everywhere is unused, if there are colours."""
    grey = image.mode in ("1", "L", "LA", "La")
    mode = "L" if grey else "RGB"
    if not image.has_transparency_data:
        return _in_mode(image, mode)
    layer = _in_mode(_in_mode(image, "LA") if image.mode == "La" else image, "RGBA")
    unseen = layer.getchannel("A").getbbox() is None
    if unseen and any(len(set(layer.getchannel(band).getextrema())) > 1 for band in "RGB"):
        return layer.convert("RGB").convert(mode)
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert(mode)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)
