"""Use unusual images as documented: their pixels are those of another computation."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from bngan.data.decoding import convert, decode
from tests.unit.data.test_decoding import (
    BOMB,
    JPEG,
    NOISE,
    PACKED,
    PICTURE,
    PNG,
    chunk,
    encoded,
    png,
    with_pixels,
    wrong,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def rotated() -> bytes:
    orientation = Image.Exif()
    orientation[0x0112] = 6
    return encoded(PICTURE.transpose(Image.Transpose.ROTATE_90), "PNG", exif=orientation)


def with_segment(marker: int, content: bytes) -> bytes:
    """The JPEG, with a segment of metadata."""
    segment = struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
    return JPEG[:2] + segment + JPEG[2:]


def png_rgba(levels: np.ndarray) -> bytes:
    return encoded(Image.fromarray(levels), "PNG")


def bmp_with_alpha(alpha: int) -> bytes:
    """A BMP of 32 bits with masks for red, green, blue and alpha."""
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    head = struct.pack("<IiiHHIIiiII", 108, 12, 16, 1, 32, 3, 768, 0, 0, 0, 0)
    pixels = np.dstack([NOISE[::-1, :, ::-1], np.full((16, 12), alpha, np.uint8)]).tobytes()
    return b"BM" + struct.pack("<IHHI", 122 + 768, 0, 0, 122) + head + masks + pixels


def adobe_cmyk() -> tuple[bytes, np.ndarray]:
    """An Adobe JPEG, whose inks are inverted, and the colours of ``PICTURE`` that it shows."""
    inks = np.dstack([255 - NOISE, np.zeros((16, 12), np.uint8)])
    content = encoded(Image.fromarray(inks, "CMYK"), "JPEG", quality=100, subsampling=0)
    assert b"Adobe" in content
    return content, NOISE


def turned(format: str, **options: Any) -> bytes:
    orientation = Image.Exif()
    orientation[0x0112] = 6
    picture = PICTURE.transpose(Image.Transpose.ROTATE_90)
    return encoded(picture, format, exif=orientation, **options)


def xmp_as_text() -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[700], tags.tagtype[700] = "no XMP", 2
    return encoded(PICTURE, "TIFF", tiffinfo=tags)


CLEAR = np.dstack([NOISE, np.zeros((16, 12), np.uint8)])
GREY = np.full((8, 8), 128, np.uint8)
OF_JPEG = np.asarray(Image.open(io.BytesIO(JPEG)))
JUNK = b"Exif\0\0no header at all"
COMPRESSED_OTHERWISE = b"name\0\x07"
MIDDLE = np.full((16, 12), 128, np.uint8)
USED: dict[str, tuple[bytes, np.ndarray]] = {
    "PNG": (PNG, NOISE),
    "photo that was turned": (rotated(), NOISE),
    "one page": (encoded(PICTURE, "TIFF"), NOISE),
    "one frame": (encoded(PICTURE, "WEBP", lossless=True), NOISE),
    "CMYK": (encoded(PICTURE.convert("CMYK"), "TIFF"), NOISE),
    "16 bits": (encoded(MIDDLE.astype(np.uint16) * 256 + 7, "PNG"), MIDDLE),
    "16 bits, PGM": (b"P5 1 1 65535\n\x80\x07", np.array([[128]], np.uint8)),
    "1 bit": (encoded(Image.fromarray(MIDDLE > 0), "PNG"), np.full_like(MIDDLE, 255)),
    "palette": (
        encoded(PICTURE.convert("P"), "PNG"),
        np.asarray(PICTURE.convert("P").convert("RGB")),
    ),
    "half transparent": (
        encoded(Image.merge("LA", [Image.new("L", (12, 16), c) for c in (1, 128)]), "PNG"),
        MIDDLE,
    ),
    "one level transparent": (encoded(Image.fromarray(MIDDLE), "PNG", transparency=3), MIDDLE),
    "pixels in many chunks, some empty": (
        with_pixels(*(
            chunk(b"IDAT", PACKED[i : i + 1]) + chunk(b"IDAT", b"") for i in range(len(PACKED))
        )),
        GREY,
    ),
    "bytes after the end of the pixels": (with_pixels(chunk(b"IDAT", PACKED + b"junk")), GREY),
    "PNG without its last chunk": (with_pixels(chunk(b"IDAT", PACKED))[:-12], GREY),
    "text with a wrong checksum after the pixels": (
        with_pixels(chunk(b"IDAT", PACKED), wrong(chunk(b"tEXt", b"a\0b"))),
        GREY,
    ),
    "time and resolution with wrong checksums": (
        with_pixels(wrong(chunk(b"pHYs", bytes(9))), wrong(chunk(b"tIME", bytes(7))),
            chunk(b"IDAT", PACKED)),
        GREY,
    ),
    "rows beyond the last": (png(rows=100), np.full((8, 8), 128, np.uint8)),
    "interlaced": (png(pixels=zlib.compress(
        b"".join((b"\0" + b"\x80" * w) * h for w, h in
                 ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4)))), interlaced=1),
        np.full((8, 8), 128, np.uint8)),
    "turned, WebP": (turned("WEBP", lossless=True), NOISE),
    "turned, TIFF": (turned("TIFF"), NOISE),
    "EXIF of no kind, PNG": (encoded(PICTURE, "PNG", exif=JUNK), NOISE),
    "EXIF of no kind, WebP": (encoded(PICTURE, "WEBP", lossless=True, exif=JUNK), NOISE),
    "XMP as text, TIFF": (xmp_as_text(), NOISE),
    "text that unpacks to 50 MB": (png(before=chunk(b"zTXt", b"k\0\0" + BOMB)), GREY),
    "profile that unpacks to 50 MB": (png(before=chunk(b"iCCP", b"k\0\0" + BOMB)), GREY),
    "text of 100 MB in pieces": (
        png(before=chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000))) * 100),
        GREY,
    ),
    "profile compressed in no known way": (png(before=chunk(b"iCCP", COMPRESSED_OTHERWISE)), GREY),
    "text compressed in no known way": (png(before=chunk(b"zTXt", COMPRESSED_OTHERWISE)), GREY),
    "text with a wrong checksum": (png(before=chunk(b"tEXt", b"a\0b")[:-4] + bytes(4)), GREY),
    "gamma that is cut": (png(before=chunk(b"gAMA", b"\0")), GREY),
    "text after the pixels": (
        png()[:-12] + chunk(b"zTXt", COMPRESSED_OTHERWISE) + png()[-12:],
        GREY,
    ),
    "Photoshop's block, cut": (with_segment(0xED, b"Photoshop 3.0\08BIM\3\xed\0"), OF_JPEG),
    "list of pictures, cut": (with_segment(0xE2, b"MPF\0MM\0*\0\0\0\x08\0\3\xb0\1"), OF_JPEG),
    "profile, cut": (with_segment(0xE2, b"ICC_PROFILE\0"), OF_JPEG),
    "unused alpha, BMP": (bmp_with_alpha(0), NOISE),
    "opaque BMP": (bmp_with_alpha(255), NOISE),
    "unused alpha, PNG": (png_rgba(CLEAR), NOISE),
    "unused alpha, TIFF": (encoded(Image.fromarray(CLEAR), "TIFF"), NOISE),
    "unused alpha, WebP": (
        encoded(Image.fromarray(CLEAR), "WEBP", lossless=True, exact=True),
        NOISE,
    ),
    "unused alpha, grey": (png_rgba(CLEAR[..., 2:]), NOISE[..., 2]),
    "all clear and of one colour": (png_rgba(np.uint8([7, 7, 7, 0]) * np.ones((16, 12, 1), np.uint8)),
        np.full((16, 12, 3), 255, np.uint8)),
    "one pixel": (png(1, 1, 1), np.array([[128]], np.uint8)),
    "very wide": (png(5000, 1, 1), np.full((1, 5000), 128, np.uint8)),
}  # fmt: skip


@pytest.mark.parametrize(("content", "pixels"), USED.values(), ids=USED.keys())
def test_an_unusual_image_is_used_as_documented(content: bytes, pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(np.asarray(decode(content)), pixels)


def test_inks_that_adobe_inverts_are_colours() -> None:
    content, colours = adobe_cmyk()
    difference = np.abs(np.asarray(decode(content)).astype(int) - colours)
    assert difference.max() < 10


def test_of_several_pictures_that_a_phone_puts_into_a_jpeg_the_first_counts() -> None:
    second = Image.fromarray(255 - NOISE)
    content = encoded(PICTURE, "MPO", save_all=True, append_images=[second])
    assert Image.open(io.BytesIO(content)).n_frames == 2  # type: ignore[attr-defined]
    difference = np.abs(np.asarray(decode(content)).astype(int) - NOISE)
    assert difference.mean() < np.abs(np.asarray(second).astype(int) - NOISE).mean() / 2


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_tiny_and_extreme_images_become_squares(size: tuple[int, int], fit: Any) -> None:
    assert convert(decode(png(*size, size[1])), 3, (8, 8), fit).shape == (8, 8, 3)
