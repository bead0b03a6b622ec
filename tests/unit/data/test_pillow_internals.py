"""Decode pixels by the installed Pillow in the layout that a file's header names."""

import io

import numpy as np
import pytest
from PIL import Image

from bngan.data.pillow_internals import load_as, load_ppm_text, ppm_maximum, ppm_place, raw_mode
from tests.unit.data.test_high_bits import COLOURS, GREY, SENSOR, little, pgm, plain_ppm, png, tiff


def layout(content: bytes) -> str:
    return raw_mode(Image.open(io.BytesIO(content)))


PNG, TIFF = png(COLOURS, 2), tiff(little(COLOURS), (5, 7), 16, 2, 3)
PREMULTIPLIED = tiff(little(np.dstack([COLOURS, GREY])), (5, 7), 16, 2, 4, t338=[1])


def test_pillows_names_of_layouts_are_those_that_the_code_takes_apart() -> None:
    """The only test of these names, which Pillow does not document; others look at values."""
    assert [layout(PNG), layout(TIFF)] == ["RGB;16B", "RGB;16L"]
    assert layout(PREMULTIPLIED).startswith("RGBa;16")


@pytest.mark.parametrize("content", [PNG, TIFF], ids=["PNG", "TIFF"])
def test_the_other_order_of_bytes_gives_the_lower_8_bits(content: bytes) -> None:
    name = layout(content)
    swapped = name[:-1] + ("L" if name.endswith("B") else "B")
    for each, expected in ((name, COLOURS >> 8), (swapped, COLOURS & 255)):
        file = Image.open(io.BytesIO(content))
        np.testing.assert_array_equal(np.asarray(load_as(file, "RGB", each)), expected)


def test_the_bytes_of_grey_and_alpha_are_read_as_four_samples() -> None:
    pairs = np.dstack([GREY, 65535 - GREY])
    file = Image.open(io.BytesIO(png(pairs, 4)))
    found = np.asarray(load_as(file, "RGBA", "RGBA"))
    np.testing.assert_array_equal(found, pairs.astype(">u2").view(np.uint8).reshape(5, 7, 4))


@pytest.mark.parametrize(("maximum", "bits"), [(65535, 16), (4095, 12), (1023, 10)])
def test_the_maximum_and_the_place_of_a_ppm_are_those_of_its_header(
    maximum: int, bits: int
) -> None:
    for values in (GREY >> (16 - bits), COLOURS >> (16 - bits)):
        content = pgm(values, maximum)
        file = Image.open(io.BytesIO(content))
        assert ppm_maximum(file) == maximum
        assert ppm_place(file) == len(content) - 2 * values.size


def test_small_ppms_have_small_maxima() -> None:
    for content, expected in [(b"P5 1 1 255 a", 255), (b"P5 1 1 9 \1", 9), (b"P4 1 1 a", 255)]:
        assert ppm_maximum(Image.open(io.BytesIO(content))) == expected


def test_the_values_of_a_text_are_scaled_to_16_bits() -> None:
    for values in (SENSOR, COLOURS >> 6):
        file = Image.open(io.BytesIO(plain_ppm(values, 1023)))
        assert ppm_place(file) is None
        found = load_ppm_text(file).reshape(values.shape)
        np.testing.assert_array_equal(np.rint(found / 65535 * 1023), values)
