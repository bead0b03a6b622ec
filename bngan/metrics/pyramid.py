"""Distance of images by patches of a Laplacian pyramid: features that no training has shaped.

The descriptors are those of Karras et al. 2018 ("Progressive Growing of GANs", sliced Wasserstein
distance). Three things differ. Real images alone give the mean and the deviation that normalise the
patches of both sides, so that generated images that are too pale or too dark are not forgiven. The
channels are brightness and two differences of colours, since red, green and blue are nearly the
same in most images. And distances are squared, so that every image's part in them is known.
"""

from hashlib import blake2b

import numpy as np

from bngan.metrics.jackknife import Estimate
from bngan.metrics.transport import sliced_transport, transport_estimate, unit_directions
from bngan.numerics.threads import map_in_threads

PATCHES = 16
"""Number of patches of an image in each level; a level that has fewer gives all."""
DIRECTIONS = 128
_PATCH = 7
"""Side of a patch in pixels; a level that is smaller has smaller ones."""
_SMALLEST = 4
"""Shorter side of the last level in pixels, at least."""
_PIXELS = 256_000
"""Number of pixels that a thread has in memory at a time."""
_OPPONENTS = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]], np.float32) / 3
"""Brightness, red less green, and yellow less blue, of red, green and blue."""


def laplacian_pyramid(images: np.ndarray) -> list[np.ndarray]:
    """Return the levels of images ``(N, H, W, C)``: what each size adds to the next smaller one.

    Sizes are halved, rounded up, as long as the shorter side keeps 4 pixels. The last level holds
    the small images themselves. ``upsample`` and addition, from the last level on, restore the
    images. Everything is float32.

    Raises:
        ValueError: if a side has fewer than 4 pixels.
    """
    if min(images.shape[1:3]) < _SMALLEST:
        height, width = images.shape[1:3]
        raise ValueError(f"patches need {_SMALLEST} pixels on each side, got {height}x{width}")
    images, levels = images.astype(np.float32), []
    while min((side + 1) // 2 for side in images.shape[1:3]) >= _SMALLEST:
        smaller = _blur(_blur(images, axis=1)[:, ::2], axis=2)[:, :, ::2]
        levels.append(images - upsample(smaller, *images.shape[1:3]))
        images = smaller
    return [*levels, images]


def upsample(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return images ``(N, h, w, C)`` at about twice their size: ``(N, height, width, C)``."""
    for axis, size in ((1, height), (2, width)):
        shape = list(images.shape)
        shape[axis] = size
        wide = np.zeros(shape, np.float32)
        wide[(slice(None),) * axis + (slice(None, None, 2),)] = 2 * images  # every second is 0
        images = _blur(wide, axis)
    return images


def _blur(images: np.ndarray, axis: int) -> np.ndarray:
    """Return images after Burt and Adelson's filter along an axis; borders are mirrored."""
    padding = [(0, 0)] * images.ndim
    padding[axis] = (2, 2)
    padded, size = np.pad(images, padding, mode="reflect"), images.shape[axis]
    parts = [padded[(slice(None),) * axis + (slice(i, i + size),)] for i in range(5)]
    total: np.ndarray = (parts[0] + parts[4]) / 16
    total += (parts[1] + parts[3]) / 4
    total += parts[2] * np.float32(3 / 8)
    return total


def pyramid_patches(images: np.ndarray) -> list[np.ndarray]:
    """Return patches of each level of uint8 images ``(N, H, W, C)``: float32 ``(N, P, h, w, C)``.

    Three channels become brightness and two differences of colours; one channel stays. P is at most
    ``PATCHES``. The places of an image's patches follow from its pixels and the level: they do not
    depend on other images.

    Raises:
        ValueError: if a side has fewer than 4 pixels.
    """
    step = max(_PIXELS // (images.shape[1] * images.shape[2]), 1)
    starts = range(0, max(len(images), 1), step)
    batches = map_in_threads(lambda start: _patches(images[start : start + step]), starts)
    return [np.concatenate(level) for level in zip(*batches, strict=True)]


def _patches(images: np.ndarray) -> list[np.ndarray]:
    patches, texts = [], [image.tobytes() for image in images]
    pixels = images @ _OPPONENTS.T if images.shape[3] == 3 else images
    for number, level in enumerate(laplacian_pyramid(pixels)):
        side = min(_PATCH, *level.shape[1:3])
        windows = np.lib.stride_tricks.sliding_window_view(level, (side, side), (1, 2))
        rows, columns = windows.shape[1:3]
        if rows * columns <= PATCHES:
            places = np.tile(np.arange(rows * columns), (len(images), 1))
        else:
            numbers = b"".join(_numbers(text, number) for text in texts)
            places = np.frombuffer(numbers, "<u4").reshape(-1, PATCHES) % (rows * columns)
        one = np.arange(len(images))[:, None]
        found = windows[one, places // columns, places % columns]
        patches.append(np.moveaxis(found, 2, -1))
    return patches


def _numbers(image: bytes, level: int) -> bytes:
    """Return ``PATCHES`` numbers below 2^32, of 4 bytes each, that an image and a level determine."""
    return blake2b(image, digest_size=4 * PATCHES, salt=bytes([level])).digest()


def pyramid_estimate(fake: list[np.ndarray], real: list[np.ndarray]) -> Estimate:
    """Return the mean over levels of the sliced squared distance between patches of both sides.

    Patches are those of ``pyramid_patches``, of equally many images. The unit is the variance of
    the real patches' pixels in each level and channel: patches of the same images score 0, and real
    images without any of their contrast 1. Chance is in images; those of a group leave with all
    their patches.

    Raises:
        ValueError: for different shapes, or fewer images than the jackknife needs.
    """
    values, potentials = [], []
    for number, (ours, theirs) in enumerate(zip(fake, real, strict=True)):
        sides = _normalised(ours, theirs)
        directions = unit_directions(DIRECTIONS, sides[0].shape[2], number)
        value, each = sliced_transport(*sides, directions)
        values.append(value)
        potentials.append(each)
    return transport_estimate(float(np.mean(values)), np.mean(potentials, axis=0))


def _normalised(fake: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return patches as vectors ``(N, P, d)``; channels have real images' mean 0 and variance 1."""
    axes = (0, 1, 2, 3)
    mean = real.mean(axis=axes, keepdims=True, dtype=np.float64)
    deviation = real.std(axis=axes, keepdims=True, dtype=np.float64)
    deviation = deviation.clip(min=1)  # bytes tell no less
    one, other = (
        ((x - mean.astype(np.float32)) / deviation.astype(np.float32)).reshape(*x.shape[:2], -1)
        for x in (fake, real)
    )
    return one, other
