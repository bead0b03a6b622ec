"""Chunks of a PNG file: the count of its rows, and the file without its metadata."""

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples per pixel by a PNG's kind of colour."""
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
_INTERLACED = (*_PASSES, (0, 1, 1, 2))
"""First column, first row and their steps in the passes of an interlaced PNG."""
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT")
"""Chunks that decide the pixels, or make an animation."""


def depth_and_kind(content: bytes) -> tuple[int, int]:
    """Return the header's bits per sample and kind of colour: 0 is grey, 2 RGB, +4 with alpha."""
    return content[24], content[25]


def counted_bytes(content: bytes) -> tuple[int, int]:
    """Return the number of bytes of the pixels that are there, and that the header promises.

    Raises:
        zlib.error: if the pixels are damaged.
    """
    width, height, depth, kind, _, _, interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    expected = sum(
        -(-(height - y) // down)
        * (1 + -(-(-(-(width - x) // right) * depth * _SAMPLES[kind]) // 8))
        for x, y, right, down in (_INTERLACED if interlaced else ((0, 0, 1, 1),))
        if x < width and y < height
    )
    stream, count = zlib.decompressobj(), 0
    for name, start, end in _chunks(content):
        part = content[start + 8 : end - 4] if name == b"IDAT" else b""
        while count <= expected and (rows := stream.decompress(part, 2**20)):
            count, part = count + len(rows), stream.unconsumed_tail
    return count, expected


def without_metadata(content: bytes) -> bytes:
    """Return the file without texts, EXIF, profiles and other chunks that no pixel needs."""
    parts = [content[start:end] for name, start, end in _chunks(content) if name in _NEEDED]
    return SIGNATURE + b"".join(parts)


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each chunk, its place and the place after it."""
    place = len(SIGNATURE)
    while place + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        yield name, place, place + 12 + length
        place += 12 + length
