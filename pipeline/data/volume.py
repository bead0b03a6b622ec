"""The room that prepared images take, and the sizes of images that have to be asked for."""

from collections.abc import Mapping
from math import prod
from typing import Any

_GB = 1e9


def array_bytes(shape: tuple[int, int, int], counts: Mapping[Any, int]) -> int:
    """Return the bytes of the prepared images, each of shape (H, W, C)."""
    return prod(shape) * sum(counts.values())


def described_volume(shape: tuple[int, int, int], counts: Mapping[Any, int]) -> str:
    """Return in words the gigabytes of the prepared images, by split."""
    total = array_bytes(shape, counts) / _GB
    parts = ", ".join(f"{name} {prod(shape) * count / _GB:,.2f}" for name, count in counts.items())
    return f"the prepared images take {total:,.2f} GB ({parts})"


def size_problem(
    shape: tuple[int, int, int], counts: Mapping[Any, int] | None, most: int
) -> str | None:
    """Return why these images are larger than was asked for; None if they are not.

    Args:
        shape: (H, W, C) of an image.
        counts: number of images by split; None if it is not known.
        most: the key ``data.max_image_size``.
    """
    height, width, channels = shape
    side = max(height, width)
    if side <= most:
        return None
    volume = f"1,000 images take {prod(shape) * 1000 / _GB:,.2f} GB"
    return (
        f"data.max_image_size: images of {height}x{width}x{channels} are larger than "
        f"{most} pixels: {described_volume(shape, counts) if counts else volume}. Set "
        f"data.image_size to {most} or less, or data.max_image_size={side} to use them"
    )
