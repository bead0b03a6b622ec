"""Patches of a Laplacian pyramid against brute force, and their distance on photographs."""

import math
from functools import cache

import numpy as np
import pytest
from scipy.ndimage import convolve1d, gaussian_filter
from sklearn.datasets import load_digits, load_sample_images

from bngan.metrics.jackknife import Estimate, leave_groups_out
from bngan.metrics.pyramid import (
    DIRECTIONS,
    PATCHES,
    laplacian_pyramid,
    pyramid_estimate,
    pyramid_patches,
    upsample,
)
from bngan.metrics.transport import unit_directions


@cache
def photographs() -> list[np.ndarray]:
    return load_sample_images().images  # type: ignore[no-any-return]


def crops(seed: int, count: int, side: int = 16) -> np.ndarray:
    """Random windows of two photographs, at a third of their size."""
    random, made = np.random.default_rng(seed), []
    for number in random.integers(2, size=count):
        whole = photographs()[number][::3, ::3]
        top, left = (random.integers(size - side) for size in whole.shape[:2])
        made.append(whole[top : top + side, left : left + side])
    return np.stack(made)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def estimate(fake: np.ndarray, real: np.ndarray) -> Estimate:
    return pyramid_estimate(pyramid_patches(fake), pyramid_patches(real))


@pytest.mark.parametrize(
    ("size", "levels"),
    [((4, 4), 1), ((5, 9), 1), ((7, 8), 2), ((8, 8), 2), ((32, 32), 4), ((31, 17), 3)],
)
def test_levels_restore_the_images(size: tuple[int, int], levels: int) -> None:
    images = noise(3, *size, 3)
    found = laplacian_pyramid(images)
    assert len(found) == levels
    whole = found[-1]
    for level in reversed(found[:-1]):
        whole = level + upsample(whole, *level.shape[1:3])
    np.testing.assert_allclose(whole, images, atol=1e-3)


def test_levels_are_those_of_burt_and_adelsons_filter() -> None:
    image = noise(1, 13, 10, 1)[0, :, :, 0].astype(np.float64)
    taps = np.array([1, 4, 6, 4, 1]) / 16

    def blurred(x: np.ndarray) -> np.ndarray:
        return convolve1d(convolve1d(x, taps, 0, mode="mirror"), taps, 1, mode="mirror")

    smaller = blurred(image)[::2, ::2]
    wide = np.zeros_like(image)
    wide[::2, ::2] = smaller
    first, last = laplacian_pyramid(image[None, :, :, None])
    np.testing.assert_allclose(last[0, :, :, 0], smaller, atol=1e-3)
    np.testing.assert_allclose(first[0, :, :, 0], image - 4 * blurred(wide), atol=1e-3)


def test_brightness_is_in_the_last_level_alone_and_a_shift_of_places_shifts() -> None:
    images = noise(2, 32, 32, 3) // 2
    *levels, last = laplacian_pyramid(images)
    *same, brighter = laplacian_pyramid(images + 50)
    np.testing.assert_allclose(brighter, last + 50, atol=1e-3)
    for level, other in zip(levels, same, strict=True):
        np.testing.assert_allclose(level, other, atol=1e-3)
    moved = laplacian_pyramid(np.roll(images, 8, axis=(1, 2)))
    for number, (level, other) in enumerate(zip(levels[:2], moved, strict=False)):
        steps, edge = 8 >> number, 6
        inside = np.s_[:, edge + steps : -edge, edge + steps : -edge]
        rolled = np.roll(level, steps, axis=(1, 2))
        if rolled[inside].size:
            np.testing.assert_allclose(other[inside], rolled[inside], atol=1e-3)


def test_patches_are_windows_that_follow_from_the_image_alone() -> None:
    images = noise(260, 32, 20, 3)  # more than a batch
    found = pyramid_patches(images)
    assert [level.shape for level in found] == [
        (260, PATCHES, 7, 7, 3),
        (260, PATCHES, 7, 7, 3),
        (260, 4, 5, 5, 3),
    ]
    red, green, blue = np.moveaxis(images.astype(np.float32), 3, 0)
    colours = [(red + green + blue) / 3, (red - green) / 3, (red + green - 2 * blue) / 3]
    levels = laplacian_pyramid(np.stack(colours, axis=3))
    for patches, level in zip(found, levels, strict=True):
        side = patches.shape[2]
        windows = np.lib.stride_tricks.sliding_window_view(level[3], (side, side), (0, 1))
        windows = np.moveaxis(windows, 2, -1).reshape(-1, side, side, 3)
        apart = [np.abs(windows - patch).max(axis=(1, 2, 3)) for patch in patches[3]]
        assert np.min(apart, axis=1).max() < 1e-4
        places = np.argmin(apart, axis=1)
        assert len(set(places)) > len(places) / 2
    assert len({patch.tobytes() for patch in found[2][3]}) == 4  # all there are
    for alone, together in zip(pyramid_patches(images[255:257]), found, strict=True):
        np.testing.assert_allclose(alone, together[255:257], atol=1e-4)


def test_images_of_too_few_pixels_and_unequal_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="patches need 4 pixels on each side, got 3x9"):
        pyramid_patches(noise(2, 3, 9, 1))
    with pytest.raises(ValueError, match="needs equal sets"):
        estimate(noise(30, 8, 8, 1), noise(31, 8, 8, 1))
    with pytest.raises(ValueError, match="needs 20 images"):
        estimate(noise(19, 8, 8, 1), noise(19, 8, 8, 1))


@pytest.mark.parametrize("shape", [(4, 4, 1), (8, 8, 3), (17, 9, 1)])
def test_a_set_has_no_distance_to_itself(shape: tuple[int, int, int]) -> None:
    images = noise(40, *shape)
    found = estimate(images, images[::-1])
    assert found.value == pytest.approx(0, abs=1e-9)
    assert found.standard_error == pytest.approx(0, abs=1e-6)
    blank = np.full((40, *shape), 7, np.uint8)
    assert estimate(blank, blank).value == 0
    assert estimate(blank, images).value > 0.3


def blurred(images: np.ndarray, amount: float) -> np.ndarray:
    return gaussian_filter(images, (0, amount / 2, amount / 2, 0))


def noisy(images: np.ndarray, amount: float) -> np.ndarray:
    spread = np.random.default_rng(1).normal(0, 8 * amount, images.shape)
    return np.clip(images + spread, 0, 255).astype(np.uint8)


def paler(images: np.ndarray, amount: float) -> np.ndarray:
    grey = images.mean(axis=3, keepdims=True)
    return (images + (grey - images) * min(amount / 4, 1)).astype(np.uint8)


def darker(images: np.ndarray, amount: float) -> np.ndarray:
    return (images * (1 - amount / 8)).astype(np.uint8)


def fewer_colours(images: np.ndarray, amount: float) -> np.ndarray:
    step = 2 ** int(3 + amount)
    return images // step * step + step // 2


@pytest.mark.parametrize("worse", [blurred, noisy, paler, darker, fewer_colours])
def test_degradations_raise_the_distance_step_by_step(worse) -> None:  # type: ignore[no-untyped-def]
    fake, real = crops(0, 400), crops(1, 400)
    values = [estimate(fake, real).value]
    values += [estimate(worse(fake, amount), real).value for amount in (1, 2, 4)]
    assert values == sorted(values)
    assert values[-1] > 2 * values[0]


def test_missing_digits_are_seen_in_small_grey_images() -> None:
    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
    fresh, real, labels = images[::2][:800], images[1::2][:800], data.target[::2][:800]
    few = fresh[labels < 5]
    half = np.concatenate([few, few])[:800]
    whole, lacking = (
        estimate(fresh[: len(half)], real[: len(half)]),
        estimate(half, real[: len(half)]),
    )
    assert (lacking - whole).bound(0.05) > 0
    assert lacking.value > 2 * whole.value


def transport(a: np.ndarray, b: np.ndarray) -> float:
    parts = math.lcm(len(a), len(b))
    one, other = (np.sort(x).repeat(parts // len(x)) for x in (a, b))
    return float(np.square(one - other).mean())


def definition(fake: list[np.ndarray], real: list[np.ndarray], by: list[np.ndarray]) -> float:
    """The distance from patches of any number of images, in the units of the patches ``by``."""
    values = []
    for number, (ours, theirs, units) in enumerate(zip(fake, real, by, strict=True)):
        pixels = units.reshape(-1, units.shape[-1]).astype(np.float64)
        one, other = (
            ((x - pixels.mean(axis=0)) / pixels.std(axis=0).clip(1)).reshape(-1, x[0, 0].size)
            for x in (ours, theirs)
        )
        directions = unit_directions(DIRECTIONS, one.shape[1], number)
        values.append(np.mean([transport(one @ u, other @ u) for u in directions]))
    return float(np.mean(values))


def test_values_without_a_group_of_images_are_recomputations_to_first_order() -> None:
    fake, real = (pyramid_patches(x) for x in (darker(crops(0, 80, 8), 1), crops(1, 80, 8)))
    found = pyramid_estimate(fake, real)
    assert found.value == pytest.approx(definition(fake, real, real), rel=1e-5)
    images = np.arange(80)

    def left(x: list[np.ndarray], kept: np.ndarray) -> list[np.ndarray]:
        return [level[kept] for level in x]

    exact = {
        "fake": leave_groups_out(lambda kept: definition(left(fake, kept), real, real), images),
        "real": leave_groups_out(lambda kept: definition(fake, left(real, kept), real), images),
    }
    for side, values in exact.items():
        assert np.corrcoef(found.without[side], values)[0, 1] > 0.97
    told, error = found.standard_error, Estimate(found.value, exact).standard_error
    assert told == pytest.approx(error, rel=0.1)


def test_the_error_of_a_difference_is_that_of_simulations() -> None:
    differences, errors = [], []
    for draw in range(50):
        fake, real = crops(2 * draw, 60, 8), pyramid_patches(crops(2 * draw + 1, 60, 8))
        one, other = (pyramid_estimate(pyramid_patches(x), real) for x in (darker(fake, 2), fake))
        differences.append((one - other).value)
        errors.append((one - other).standard_error)
    assert np.mean(errors) == pytest.approx(np.std(differences), rel=0.3)
