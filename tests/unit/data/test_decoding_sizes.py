"""Images brought to a height and a width, as they are found by hand and by PIL alone."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from bngan.data.decoding import convert

SIZES = [(24, 40), (96, 64), (7, 13), (13, 7), (4, 64)]
RANDOM = np.random.default_rng(0)


def smooth(height: int, width: int) -> Image.Image:
    """Red grows downwards, green to the right, and blue is noise that is enlarged."""
    rows, columns = np.indices((height, width)) * 255.0
    blue = Image.fromarray(RANDOM.integers(0, 256, (4, 4), dtype=np.uint8))
    noise = np.asarray(blue.resize((width, height), Image.Resampling.BICUBIC))
    return Image.fromarray(
        np.stack([rows / (height - 1), columns / (width - 1), noise], 2).astype(np.uint8)
    )


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("source", [(80, 120), (120, 80), (90, 90), (30, 200), (10, 10)], ids=str)
def test_crop_takes_the_largest_middle_part_of_that_shape(
    size: tuple[int, int], source: tuple[int, int]
) -> None:
    (h, w), (height, width) = size, source
    scale = min(height / h, width / w)
    top, left = (height - h * scale) / 2, (width - w * scale) / 2
    box = left, top, left + w * scale, top + h * scale
    image = smooth(*source)
    expected = np.asarray(image.resize((w, h), Image.Resampling.BICUBIC, box=box))
    found = convert(image, 3, size, "crop")
    assert found.shape == (h, w, 3)
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_stretch_is_pils_resize_to_width_and_height(size: tuple[int, int]) -> None:
    image = smooth(60, 50)
    expected = np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(convert(image, 3, size, "stretch"), expected)


def test_pad_adds_black_where_the_image_is_narrower() -> None:
    image = Image.new("RGB", (50, 50), "white")
    wide = convert(image, 3, (24, 40), "pad")  # 24 x 24 in the middle of 40 columns
    assert (wide[:, 8:32] == 255).all()
    assert (wide[:, :8] == 0).all()
    assert (wide[:, 32:] == 0).all()
    tall = convert(image, 1, (96, 64), "pad")  # 64 x 64 in the middle of 96 rows
    assert tall.shape == (96, 64, 1)
    assert (tall[16:80] == 255).all()
    assert (tall[:16] == 0).all()
    assert (tall[80:] == 0).all()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_transposed_image_gives_the_transposed_result(fit: Any, size: tuple[int, int]) -> None:
    image = smooth(70, 45)
    found = convert(image, 3, size, fit)
    other = convert(image.transpose(Image.Transpose.TRANSPOSE), 3, size[::-1], fit)
    # PIL rounds to levels between the two directions.
    assert np.abs(found.astype(int) - other.transpose(1, 0, 2)).max() <= 2


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_an_image_of_that_size_stays_as_it_is(fit: Any) -> None:
    pixels = RANDOM.integers(0, 256, (24, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(convert(Image.fromarray(pixels), 3, (24, 40), fit), pixels)
