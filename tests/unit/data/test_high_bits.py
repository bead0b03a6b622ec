"""Values of 9 to 16 bits, in files that are written by hand, byte by byte."""

import struct
import zlib
from typing import Any

import numpy as np
import pytest

from bngan.data import high_bits
from bngan.data.decoding import decode, read_image
from bngan.data.high_bits import to_8_bits
from tests.unit.data.test_decoding import chunk, encoded

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 65536, (5, 7)).astype(np.uint16)
COLOURS = RANDOM.integers(0, 65536, (5, 7, 3)).astype(np.uint16)
SENSOR = RANDOM.integers(0, 1024, (5, 7)).astype(np.uint16)
ALPHA = np.full((5, 7), 65535, np.uint16)


def png(values: np.ndarray, kind: int, before: bytes = b"", depth: int = 16) -> bytes:
    """A PNG of 16 bits, or of fewer, if ``values`` holds the bytes of its rows."""
    height, width = values.shape[:2]
    width = width if depth == 16 else width * 8 // depth
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = (chunk(b"IHDR", header), before, chunk(b"IDAT", zlib.compress(rows)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


_SHORT, _LONG = 3, 4


def tiff(
    data: bytes,
    size: tuple[int, int],
    bits: int,
    photometric: int,
    samples: int = 1,
    order: str = "<",
    **others: list[int],
) -> bytes:
    """An uncompressed TIFF of one strip; ``others`` are tags of shorts, by ``tNUMBER``."""
    height, width = size
    tags = {
        256: (_LONG, [width]), 257: (_LONG, [height]), 258: (_SHORT, [bits] * samples),
        259: (_SHORT, [1]), 262: (_SHORT, [photometric]), 273: (_LONG, [0]),
        277: (_SHORT, [samples]), 278: (_LONG, [height]), 279: (_LONG, [len(data)]),
        **{int(name[1:]): (_SHORT, values) for name, values in others.items()},
    }  # fmt: skip
    letters = {_SHORT: "H", _LONG: "I"}
    packed = {
        tag: struct.pack(f"{order}{len(values)}{letters[kind]}", *values)
        for tag, (kind, values) in tags.items()
    }
    place = 8 + 2 + 12 * len(tags) + 4
    start = place + sum(len(each) for each in packed.values() if len(each) > 4)
    packed[273] = struct.pack(f"{order}I", start)
    entries, later = b"", b""
    for tag in sorted(tags):
        kind, values = tags[tag]
        entries += struct.pack(f"{order}HHI", tag, kind, len(values))
        if len(packed[tag]) <= 4:
            entries += packed[tag].ljust(4, b"\0")
        else:
            entries += struct.pack(f"{order}I", place + len(later))
            later += packed[tag]
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return head + entries + bytes(4) + later + data


def twelve_bits(values: np.ndarray) -> bytes:
    """Two values in three bytes; rows end at a byte."""
    rows = []
    for row in values:
        text = "".join(f"{value:012b}" for value in row)
        text += "0" * (-len(text) % 8)
        rows.append(bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8)))
    return b"".join(rows)


def pgm(values: np.ndarray, maximum: int) -> bytes:
    height, width = values.shape[:2]
    magic = b"P6" if values.ndim == 3 else b"P5"
    return magic + b"\n%d %d\n%d\n" % (width, height, maximum) + values.astype(">u2").tobytes()


def plain_ppm(values: np.ndarray, maximum: int) -> bytes:
    height, width = values.shape[:2]
    text = " ".join(map(str, values.flatten())).encode()
    return (
        (b"P3" if values.ndim == 3 else b"P2") + b"\n%d %d\n%d\n" % (width, height, maximum) + text
    )


def little(values: np.ndarray) -> bytes:
    return values.astype("<u2").tobytes()


def big(values: np.ndarray) -> bytes:
    return values.astype(">u2").tobytes()


SIZE = (5, 7)
WITH_ALPHA = np.dstack([COLOURS, ALPHA])
TWELVE = GREY >> 4
UPPER: dict[str, tuple[bytes, np.ndarray]] = {
    "grey PNG": (png(GREY, 0), GREY >> 8),
    "RGB PNG": (png(COLOURS, 2), COLOURS >> 8),
    "RGBA PNG": (png(WITH_ALPHA, 6), COLOURS >> 8),
    "PNG of grey and alpha": (png(np.dstack([GREY, ALPHA]), 4), GREY >> 8),
    "grey TIFF": (tiff(little(GREY), SIZE, 16, 1), GREY >> 8),
    "big-endian grey TIFF": (tiff(big(GREY), SIZE, 16, 1, order=">"), GREY >> 8),
    "compressed TIFF": (encoded(GREY, "TIFF", compression="tiff_lzw"), GREY >> 8),
    "RGB TIFF": (tiff(little(COLOURS), SIZE, 16, 2, 3), COLOURS >> 8),
    "big-endian RGB TIFF": (tiff(big(COLOURS), SIZE, 16, 2, 3, ">"), COLOURS >> 8),
    "RGBA TIFF": (tiff(little(WITH_ALPHA), SIZE, 16, 2, 4, t338=[2]), COLOURS >> 8),
    "premultiplied TIFF": (tiff(little(WITH_ALPHA), SIZE, 16, 2, 4, t338=[1]), COLOURS >> 8),
    "TIFF with an unused sample": (
        tiff(little(np.dstack([COLOURS, GREY])), SIZE, 16, 2, 4, t338=[0]),
        COLOURS >> 8,
    ),
    "TIFF where 0 is white": (tiff(little(GREY), SIZE, 16, 0), (65535 - GREY) >> 8),
    "TIFF of 12 bits": (tiff(twelve_bits(TWELVE), SIZE, 12, 1), TWELVE >> 4),
    "PGM": (pgm(GREY, 65535), GREY >> 8),
    "PGM of 10 bits": (pgm(SENSOR, 1023), SENSOR >> 2),
    "PPM": (pgm(COLOURS, 65535), COLOURS >> 8),
    "PPM of 12 bits": (pgm(COLOURS >> 4, 4095), COLOURS >> 8),
    "PGM as text": (plain_ppm(SENSOR, 1023), SENSOR >> 2),
    "PPM as text": (plain_ppm(COLOURS >> 4, 4095), COLOURS >> 8),
}


@pytest.mark.parametrize(("content", "pixels"), UPPER.values(), ids=UPPER.keys())
def test_the_upper_8_of_the_headers_bits_are_used(content: bytes, pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(np.asarray(decode(content)), pixels)


def test_the_levels_are_the_upper_8_bits_of_every_value() -> None:
    for bits in range(8, 17):
        values = np.arange(2**bits, dtype=np.uint16)
        assert (to_8_bits(values, 2**bits - 1) == values >> (bits - 8)).all(), bits
    assert to_8_bits(np.arange(5), 3).tolist() == [0, 85, 170, 255, 255]
    assert to_8_bits(np.array([0, 1, 2]), 1).tolist() == [0, 255, 255]


LOW = SENSOR.copy()
LOW[0, :2] = 1500, 65535
COLOURS_10 = COLOURS >> 6
SCALED: dict[str, tuple[bytes, np.ndarray]] = {
    "grey PNG": (png(LOW, 0), np.minimum(LOW, 1023) >> 2),
    "RGB PNG": (png(COLOURS_10, 2), COLOURS_10 >> 2),
    "RGBA PNG": (png(np.dstack([COLOURS_10, ALPHA]), 6), COLOURS_10 >> 2),
    "PNG of grey and alpha": (png(np.dstack([SENSOR, ALPHA]), 4), SENSOR >> 2),
    "TIFF": (tiff(little(LOW), SIZE, 16, 1), np.minimum(LOW, 1023) >> 2),
    "RGB TIFF": (tiff(little(COLOURS_10), SIZE, 16, 2, 3), COLOURS_10 >> 2),
    "big-endian RGB TIFF": (tiff(big(COLOURS_10), SIZE, 16, 2, 3, ">"), COLOURS_10 >> 2),
    "TIFF where 0 is white": (tiff(little(SENSOR), SIZE, 16, 0), (1023 - SENSOR) >> 2),
    "TIFF of 12 bits": (tiff(twelve_bits(SENSOR), SIZE, 12, 1), SENSOR >> 2),
    "PGM": (pgm(LOW, 65535), np.minimum(LOW, 1023) >> 2),
    "PGM of 12 bits": (pgm(SENSOR, 4095), SENSOR >> 2),
    "PPM": (pgm(COLOURS_10, 65535), COLOURS_10 >> 2),
    "PPM as text": (plain_ppm(COLOURS_10, 65535), COLOURS_10 >> 2),
    "8 bits": (encoded((GREY >> 8).astype(np.uint8), "PNG"), GREY >> 8),
    "PGM of 9 bits, which has less": (pgm(GREY >> 7, 511), GREY >> 8),
}


@pytest.mark.parametrize(("content", "pixels"), SCALED.values(), ids=SCALED.keys())
def test_a_white_of_1023_scales_10_bits_in_files_of_more(content: bytes, pixels: Any) -> None:
    np.testing.assert_array_equal(np.asarray(decode(content, 1023)), pixels)


def test_the_largest_value_and_the_headers_maximum_are_reported() -> None:
    for content, largest, maximum in [
        (png(SENSOR, 0), SENSOR.max(), 65535),
        (png(COLOURS_10, 2), COLOURS_10.max(), 65535),
        (png(np.dstack([SENSOR, ALPHA]), 4), SENSOR.max(), 65535),
        (tiff(twelve_bits(TWELVE), SIZE, 12, 1), TWELVE.max(), 4095),
        (pgm(SENSOR, 1023), SENSOR.max(), 1023),
        (encoded((GREY >> 8).astype(np.uint8), "PNG"), None, 255),
    ]:
        found = read_image(content)
        assert (found.largest, found.maximum) == (largest, maximum)


SIGNED = GREY.view(np.int16)
FLOATS = GREY.astype("<f4")
REFUSED: dict[str, tuple[bytes, str]] = {
    "32 bits that fit 8": (tiff((GREY >> 8).astype("<u4").tobytes(), SIZE, 32, 1), "more than 16"),
    "32 signed bits": (
        tiff(GREY.astype("<i4").tobytes(), SIZE, 32, 1, t339=[2]),
        "more than 16 bits",
    ),
    "16 signed bits": (tiff(SIGNED.tobytes(), SIZE, 16, 1, t339=[2]), "signed pixels"),
    "16 signed bits that are positive": (
        tiff((SIGNED & 0xFFF).tobytes(), SIZE, 16, 1, t339=[2]),
        "signed pixels",
    ),
    "8 signed bits": (
        tiff(GREY.astype(np.uint8).tobytes(), SIZE, 8, 1, t339=[2]),
        "signed pixels",
    ),
    "floats": (tiff(FLOATS.tobytes(), SIZE, 32, 1, t339=[3]), "floating-point pixels"),
    "floats, PFM": (b"Pf\n7 5\n-1.0\n" + FLOATS.tobytes(), "floating-point pixels"),
    "LAB": (tiff(bytes(105), SIZE, 8, 8, 3), "LAB colours"),
    "planes of 16 bits": (tiff(little(COLOURS), SIZE, 16, 2, 3, t284=[2]), "separate planes"),
    "big-endian TIFF of 12 bits": (
        tiff(twelve_bits(TWELVE), SIZE, 12, 1, order=">"),
        "a damaged TIFF file, or one of a kind that is not read",
    ),
    "PGM cut": (pgm(GREY, 65535)[:-1], "unreadable: image file is truncated"),
    "PGM of 10 bits cut": (pgm(SENSOR, 1023)[:-1], "unreadable: image file is truncated"),
    "PGM as text cut": (plain_ppm(SENSOR, 1023)[:-9], "unreadable: "),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_values_without_a_known_white_are_refused_by_the_header(
    content: bytes, message: str
) -> None:
    for white in (None, 1023):
        with pytest.raises(ValueError, match=message):
            decode(content, white)


def test_premultiplied_colours_of_16_bits_have_no_other_white() -> None:
    content = tiff(little(WITH_ALPHA), SIZE, 16, 2, 4, t338=[1])
    with pytest.raises(ValueError, match=r"multiplied by alpha, and data\.white is set"):
        decode(content, 1023)


def test_colours_that_were_multiplied_by_alpha_are_laid_over_white() -> None:
    """Half opaque: what is stored, and 127 of white."""
    colours = tiff(bytes([50, 100, 128, 128]), (1, 1), 8, 2, 4, t338=[1])
    assert np.abs(np.asarray(decode(colours)).astype(int) - [177, 227, 255]).max() <= 1
    grey = tiff(bytes([50, 128]), (1, 1), 8, 1, 2, t338=[1])
    assert abs(int(np.asarray(decode(grey))[0, 0]) - 177) <= 1


def test_colours_of_16_bits_have_half_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(high_bits, "MAX_PIXELS", 69)
    assert decode(png(GREY, 0)).size == (7, 5)
    for content in (png(COLOURS, 2), tiff(little(COLOURS), SIZE, 16, 2, 3), pgm(COLOURS, 65535)):
        with pytest.raises(ValueError, match="7x5 pixels, and 1 to 34 can be read"):
            decode(content)


def test_a_transparent_value_of_16_bits_is_the_exact_one() -> None:
    grey = np.array([[0x1234, 0x1235, 0x1334, 0x0034]], np.uint16)
    content = png(grey, 0, chunk(b"tRNS", b"\x12\x34"))
    assert np.asarray(decode(content)).tolist() == [[255, 0x12, 0x13, 0]]
    colours = np.array([[[0x1234, 5, 6], [0x1235, 5, 6], [0x1234, 5, 0x106]]], np.uint16)
    content = png(colours, 2, chunk(b"tRNS", b"\x12\x34\0\5\0\6"))
    expected = [[[255, 255, 255], [0x12, 0, 0], [0x12, 0, 1]]]
    assert np.asarray(decode(content)).tolist() == expected


@pytest.mark.parametrize(
    ("depth", "row", "transparent", "expected"),
    [
        (1, 0b01010101, 1, [0, 255] * 4),
        (2, 0b00011011, 2, [0, 85, 255, 255]),
        (4, 0x3A, 0xA, [51, 255]),
        (8, 0x2C, 0x2C, [255]),
        (8, 0x2C, 0x2D, [0x2C]),
    ],
)
def test_grey_of_few_bits_is_spread_and_its_transparent_value_too(
    depth: int, row: int, transparent: int, expected: list[int]
) -> None:
    content = png(np.array([[row]]), 0, chunk(b"tRNS", struct.pack(">H", transparent)), depth)
    assert np.asarray(decode(content)).tolist() == [expected]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_tiff_where_0_is_white_is_inverted_at_any_depth(bits: int) -> None:
    zero = tiff(bytes(8), (8, 8 // bits), bits, 0)
    full = tiff(b"\xff" * 8, (8, 8 // bits), bits, 0)
    assert (np.asarray(decode(zero)) == 255).all()
    assert (np.asarray(decode(full)) == 0).all()


def test_colours_of_8_bits_in_the_palette_of_a_tiff_are_not_black() -> None:
    palette = [*range(256), *range(255, -1, -1), *[7] * 256]  # the format's are of 16 bits
    for scale in (1, 257):
        content = tiff(bytes([3]), (1, 1), 8, 3, t320=[scale * each for each in palette])
        assert np.asarray(decode(content)).tolist() == [[[3, 252, 7]]]
