"""Degradations: stronger is farther, and each does what its name says."""

import numpy as np
import pytest

from bngan.metrics.degradations import DEGRADATIONS, LEVELS

SHAPES = [(60, 32, 32, 3), (60, 8, 8, 1), (60, 24, 40, 3), (60, 4, 5, 1)]


def smooth(shape: tuple[int, ...]) -> np.ndarray:
    """Images of ten kinds: stripes of several widths and directions, in two colours each."""
    count, height, width, channels = shape
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    images = np.empty(shape, np.uint8)
    for number in range(count):
        kind = number % 10
        phase = (rows * (kind % 3) + columns * (1 + kind % 4)) * (0.3 + kind / 20)
        colour = random.uniform(40, 120, channels)
        images[number] = 128 + colour * np.sin(phase + random.uniform(0, 6))[..., None]
    return images


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", DEGRADATIONS)
def test_images_keep_their_form_and_their_number(name: str, shape: tuple[int, ...]) -> None:
    images = smooth(shape)
    before = images.copy()
    for strength in LEVELS:
        found = DEGRADATIONS[name](images, strength, np.random.default_rng(1))
        assert (found.shape, found.dtype) == (images.shape, np.uint8)
        again = DEGRADATIONS[name](images, strength, np.random.default_rng(1))
        np.testing.assert_array_equal(found, again)
    assert not np.array_equal(found, images)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize(
    "name", [name for name in DEGRADATIONS if name not in ("dropped kinds", "copies")]
)
def test_a_stronger_one_changes_pixels_more(name: str) -> None:
    images = smooth((60, 32, 32, 3))
    changes = [
        np.abs(
            DEGRADATIONS[name](images, s, np.random.default_rng(1)) - images.astype(float)
        ).mean()
        for s in LEVELS
    ]
    assert changes == sorted(changes)
    assert changes[0] < changes[-1]


def kinds(images: np.ndarray) -> int:
    return len(np.unique(images.reshape(len(images), -1), axis=0))


def test_copies_and_dropped_kinds_leave_fewer_different_images() -> None:
    images = smooth((200, 16, 16, 3))
    for name, expected in {"copies": 10, "dropped kinds": 100}.items():
        counts = [kinds(DEGRADATIONS[name](images, s, np.random.default_rng(1))) for s in LEVELS]
        assert counts == sorted(counts, reverse=True)
        assert expected <= counts[-1] <= 1.3 * expected
        found = DEGRADATIONS[name](images, 1.0, np.random.default_rng(1))
        real = {image.tobytes() for image in images}
        assert all(image.tobytes() in real for image in found)


def test_random_phases_keep_the_spectrum() -> None:
    images = 100 + smooth((20, 32, 32, 1)) // 4  # so that nothing is cut off
    found = DEGRADATIONS["random phases"](images, 0.5, np.random.default_rng(0))
    before, after = (np.abs(np.fft.rfft2(x.astype(float), axes=(1, 2))) for x in (images, found))
    inside = np.s_[:, :, 1:-1]  # other columns hold a wave and its mirror image
    assert np.corrcoef(before[inside].ravel(), after[inside].ravel())[0, 1] > 0.999


def test_shuffled_blocks_are_blocks_of_the_image() -> None:
    images = np.arange(2 * 16 * 16, dtype=np.int64).reshape(2, 16, 16, 1) % 251
    found = DEGRADATIONS["shuffled blocks"](images.astype(np.uint8), 1.0, np.random.default_rng(0))
    for image, other in zip(images.astype(np.uint8), found, strict=True):
        blocks, others = (
            sorted(
                part[i : i + 4, j : j + 4].tobytes()
                for i in range(0, 16, 4)
                for j in range(0, 16, 4)
            )
            for part in (image, other)
        )
        assert blocks == others
