"""Whatever bytes: pixels of the right kind, or a ``ValueError``, in bounded memory."""

import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from bngan.data.decoding import convert, decode

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

QUICK, THOROUGH = 200, 5000
FORMATS = ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM")
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8))


def encoded(format: str, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    PICTURE.convert(mode).save(file, format, **options)
    return file.getvalue()


def seeds() -> list[bytes]:
    orientation = Image.Exif()
    orientation[0x0112] = 6
    return [
        *(encoded(format) for format in FORMATS),
        encoded("PNG", "P", transparency=3),
        encoded("PNG", "RGBA"),
        encoded("PNG", "LA"),
        encoded("PNG", "I;16"),
        encoded("PNG", "1"),
        encoded("JPEG", exif=orientation),
        encoded("JPEG", "CMYK"),
        encoded("JPEG", progressive=True),
        encoded("TIFF", "CMYK", compression="tiff_lzw"),
        encoded("TIFF", "F"),
        encoded("TIFF", "1", compression="group4"),
        encoded("TIFF", compression="jpeg"),
        encoded("GIF", save_all=True, append_images=[PICTURE.rotate(90)] * 2),
        encoded("PNG", save_all=True, append_images=[PICTURE.rotate(180)] * 2),
        encoded("WEBP", save_all=True, append_images=[PICTURE.rotate(180)] * 2),
        encoded("MPO", save_all=True, append_images=[PICTURE]),
        encoded("PPM", "L"),
        b"P3 2 2 255 " + b"1 2 3 " * 4,
    ]


SEEDS = seeds()
EDITS = st.lists(
    st.tuples(
        st.sampled_from(("flip", "cut", "insert", "set")),
        st.integers(0, 1023),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=6,
)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A valid file of one of the formats, changed in up to six places."""
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for kind, place, other in draw(EDITS):
        at = place * max(len(content) - 1, 0) // 1023
        if kind == "flip" and content:
            content[at] ^= 1 << other[0] % 8
        elif kind == "cut":
            del content[at : at + (other[0] if other[0] < 200 else len(content))]
        elif kind == "insert":
            content[at:at] = other
        else:
            content[at : at + len(other)] = other
    return bytes(content)


ANYTHING = st.one_of(mutations(), mutations(), mutations(), st.binary(max_size=400))


def pixels_or_reason(content: bytes, channels: int, fit: Any) -> None:
    try:
        image = decode(content)
        pixels = convert(image, channels, (8, 8), fit)
    except ValueError as error:
        reason = str(error)
        assert reason
        assert reason.isprintable()
        return
    assert image.mode in ("L", "RGB")
    assert pixels.shape == (8, 8, channels)
    assert pixels.dtype == np.uint8


CASES = {
    "content": ANYTHING,
    "channels": st.sampled_from((1, 3)),
    "fit": st.sampled_from(("crop", "pad", "stretch")),
}


@example(b"", 1, "crop")
@given(**CASES)
@settings(max_examples=QUICK)
def test_any_bytes_are_pixels_or_a_reason(content: bytes, channels: int, fit: Any) -> None:
    pixels_or_reason(content, channels, fit)


_BOUNDED = """
import resource
from hypothesis import given, settings
import tests.conftest
from tests.unit.data.test_decoding_fuzzed import CASES, pixels_or_reason
given(**CASES)(settings(max_examples={count}, deadline=10_000, derandomize=True)(pixels_or_reason))()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_of_thousands_of_broken_files_none_takes_a_gigabyte_or_seconds() -> None:
    command = [sys.executable, "-W", "ignore", "-c", _BOUNDED.format(count=THOROUGH)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) < 1500, "MiB, a third of them torch's"


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_is_cut_anywhere_is_refused_or_the_whole_picture(format: str) -> None:
    whole = encoded(format)
    expected = np.asarray(decode(whole))
    refused = 0
    for end in range(len(whole)):
        try:
            found = np.asarray(decode(whole[:end]))
        except ValueError:
            refused += 1
        else:
            np.testing.assert_array_equal(found, expected, err_msg=f"cut at {end} of {len(whole)}")
    assert refused > len(whole) // 2
