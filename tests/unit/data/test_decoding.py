"""What people have in their folders: each thing is used as documented or refused with its reason."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bngan.data import decoding
from bngan.data.decoding import decode

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

NOISE = np.random.default_rng(0).integers(0, 256, (16, 12, 3), dtype=np.uint8)
PICTURE = Image.fromarray(NOISE)


def encoded(picture: Image.Image | np.ndarray, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(file, format, **options)
    return file.getvalue()


def moving(format: str, frames: int = 12) -> bytes:
    others = [Image.fromarray(NOISE + np.uint8(20 * i)) for i in range(1, frames)]
    return encoded(PICTURE, format, save_all=True, append_images=others)


def chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def png(
    width: int = 8,
    height: int = 8,
    rows: int = 8,
    before: bytes = b"",
    pixels: bytes | None = None,
    interlaced: int = 0,
) -> bytes:
    """Grey, with as many rows as are asked for, whatever its header says."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlaced)
    data = zlib.compress((b"\0" + b"\x80" * width) * rows) if pixels is None else pixels
    parts = chunk(b"IHDR", header), before, chunk(b"IDAT", data), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def wrong_checksum() -> bytes:
    return zlib.compress((b"\0" + b"\x80" * 8) * 8)[:-4] + b"\0\0\0\0"


def with_pixels(*chunks: bytes, height: int = 8) -> bytes:
    """A grey PNG, 8 pixels wide, with these chunks for its pixels."""
    start, end = png(height=height, pixels=b"")[:33], png()[-12:]
    return start + b"".join(chunks) + end


def stored(rows: bytes, last: bool = True) -> bytes:
    """A zlib stream that only copies; without ``last`` its end, and the checksum, are missing."""
    head = b"\x78\x01" + struct.pack("<BHH", last, len(rows), len(rows) ^ 0xFFFF) + rows
    return head + struct.pack(">I", zlib.adler32(rows)) if last else head


def wrong(whole: bytes) -> bytes:
    """The chunk with another checksum."""
    return whole[:-4] + bytes(each ^ 0x55 for each in whole[-4:])


ROWS = (b"\0" + b"\x80" * 8) * 8
PACKED = stored(ROWS)
CHANGED = ROWS[:40] + b"\x63" + ROWS[41:]
BOMB = zlib.compress(bytes(50_000_000))
PNG, JPEG = encoded(PICTURE, "PNG"), encoded(PICTURE, "JPEG")
REFUSED: dict[str, tuple[bytes | OSError | None, str]] = {
    "no content": (None, "no image"),
    "empty file": (b"", "an empty file"),
    "no permission": (
        PermissionError(13, "Permission denied"),
        "cannot be read: Permission denied",
    ),
    "text named png": (b"one word\n", "unreadable: no image format that is known"),
    "random bytes": (
        np.random.default_rng(1).bytes(500),
        "unreadable: no image format that is known",
    ),
    "signature alone": (PNG[:8], "unreadable: "),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image format that is known"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no image format that is known"),
    "PNG cut": (PNG[: len(PNG) // 2], "bytes of its pixels are there"),
    "JPEG cut": (JPEG[:-40], "unreadable: image file is truncated"),
    "GIF cut": (encoded(PICTURE, "GIF")[:-200], "unreadable: image file is truncated"),
    "BMP cut": (encoded(PICTURE, "BMP")[:-200], "unreadable: image file is truncated"),
    "PPM cut": (encoded(PICTURE, "PPM")[:-200], "unreadable: image file is truncated"),
    "TIFF cut": (encoded(PICTURE, "TIFF")[:300], "unreadable: "),
    "WebP cut": (encoded(PICTURE, "WEBP")[:-200], "unreadable: "),
    "PNG with too few rows": (png(rows=4), "unreadable: 36 of 72 bytes of its pixels are there"),
    "interlaced PNG with too few rows": (png(rows=8, interlaced=1), "72 of 79 bytes"),
    "PNG with damaged pixels": (png(pixels=wrong_checksum()), "unreadable: Error -3"),
    "PNG with another CRC": (
        with_pixels(wrong(chunk(b"IDAT", PACKED))),
        "a checksum of its pixels",
    ),
    "PNG, the second of three CRCs": (
        with_pixels(
            chunk(b"IDAT", PACKED[:20]),
            wrong(chunk(b"IDAT", PACKED[20:50])),
            chunk(b"IDAT", PACKED[50:]),
        ),
        "a checksum of its pixels is wrong",
    ),
    "PNG with a changed pixel and no end": (
        with_pixels(chunk(b"IDAT", stored(ROWS, False)).replace(ROWS, CHANGED)),
        "a checksum of its pixels is wrong",
    ),
    "PNG with a changed pixel and rows beyond the last": (
        with_pixels(
            chunk(b"IDAT", stored(ROWS + ROWS, False)).replace(ROWS + ROWS, CHANGED + ROWS)
        ),
        "a checksum of its pixels is wrong",
    ),
    "PNG without the end of its pixels": (
        with_pixels(chunk(b"IDAT", stored(ROWS, False))),
        "the end of its pixels is missing",
    ),
    "PNG with its pixels' checksum cut": (
        with_pixels(chunk(b"IDAT", PACKED[:-1])),
        "the end of its pixels is missing",
    ),
    "PNG without its pixels' checksum": (
        with_pixels(chunk(b"IDAT", PACKED[:-4])),
        "the end of its pixels is missing",
    ),
    "interlaced PNG with another CRC": (
        png(8, 1, pixels=stored(b"\0\1\0\1\0\1\1\0\1\1\1\1"), interlaced=1).replace(
            struct.pack(">I", zlib.crc32(b"IDAT" + stored(b"\0\1\0\1\0\1\1\0\1\1\1\1"))),
            b"\1\2\3\4",
        ),
        "a checksum of its pixels is wrong",
    ),
    "PNG cut within the last CRC": (
        with_pixels(chunk(b"IDAT", PACKED))[:-14],
        "a checksum of its pixels is wrong",
    ),
    "PNG without pixels": (png(pixels=b""), "unreadable: "),
    "PNG of no size": (png(width=0), "unreadable: "),
    "GIF of 12 frames": (moving("GIF"), "12 frames: an image must be one picture"),
    "APNG": (moving("PNG"), "12 frames: an image must be one picture"),
    "WebP of 12 frames": (moving("WEBP"), "12 frames: an image must be one picture"),
    "TIFF of 3 pages": (moving("TIFF", 3), "3 frames: an image must be one picture"),
    "PNG of 10^10 pixels": (
        png(100_000, 100_000, 1),
        "Image size (10000000000 pixels) exceeds limit",
    ),
    "PNG of 65 million pixels": (png(65_000, 1000, 1), "65000x1000 pixels"),
    "BMP of 2 * 10^9 pixels": (
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 45000, 45000, 1, 24, *[0] * 6),
        "Image size (2025000000 pixels) exceeds limit",
    ),
    "floats": (encoded(np.ones((8, 8), np.float32), "TIFF"), "floating-point pixels"),
    "32-bit integers": (encoded(np.full((8, 8), 70_000, np.int32), "TIFF"), "more than 16 bits"),
    "negative integers": (encoded(np.full((8, 8), -1, np.int32), "TIFF"), "more than 16 bits"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_an_image_that_cannot_be_used_has_a_reason(content: Any, message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 (the whole message is looked at)
        decode(content)
    assert message in str(raised.value)
    assert str(raised.value).isprintable()


def test_a_file_of_hundreds_of_megabytes_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_BYTES", len(PNG) - 1)
    with pytest.raises(ValueError, match="MiB are too much for an image"):
        decode(PNG)
