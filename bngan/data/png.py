"""Chunks of a PNG file: whether its pixels are whole, and the file without its metadata."""

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples per pixel by a PNG's kind of colour."""
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
_INTERLACED = (*_PASSES, (0, 1, 1, 2))
"""First column, first row and their steps in the passes of an interlaced PNG."""
_PIECE = 2**14
"""Bytes that are unpacked at a time, to 17 MB at most."""
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT")
"""Chunks that decide the pixels, or make an animation."""


def depth_and_kind(content: bytes) -> tuple[int, int]:
    """Return the header's bits per sample and kind of colour: 0 is grey, 2 RGB, +4 with alpha."""
    return content[24], content[25]


def problem_of_pixels(content: bytes) -> str:
    """Return what is missing or damaged in the pixels' chunks; empty if they are whole.

    Raises:
        zlib.error: if they cannot be unpacked.
    """
    expected, count, sound = _expected_bytes(content), 0, True
    stream, view = zlib.decompressobj(), memoryview(content)
    for name, start, end in _chunks(content):
        if name != b"IDAT":
            continue
        checksum = zlib.crc32(view[start + 4 : end - 4]).to_bytes(4)
        sound = sound and content[end - 4 : end] == checksum
        packed = view[start + 8 : end - 4]
        for place in range(0, len(packed), _PIECE):
            if stream.eof or count > expected:
                break
            count += len(stream.decompress(packed[place : place + _PIECE]))
    if count < expected:
        return f"{count} of {expected} bytes of its pixels are there"
    if not sound:
        return "a checksum of its pixels is wrong"
    # Rows beyond the last are not unpacked: they may be a million times as many.
    return "" if stream.eof or count > expected else "the end of its pixels is missing"


def _expected_bytes(content: bytes) -> int:
    """Return the number of bytes that the header promises."""
    width, height, depth, kind, _, _, interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    return sum(
        -(-(height - y) // down)
        * (1 + -(-(-(-(width - x) // right) * depth * _SAMPLES[kind]) // 8))
        for x, y, right, down in (_INTERLACED if interlaced else ((0, 0, 1, 1),))
        if x < width and y < height
    )


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
