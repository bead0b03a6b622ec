"""Differentiable augmentation of the discriminator's images, after DiffAugment (Zhao et al. 2020).

Real and fake images change in the same ways, each by random numbers of its own. The discriminator
then cannot learn a small data set by heart, and the generator does not learn the changes.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

AugmentationName = Literal["translation", "cutout", "color"]
DRAWS = 7
"""Number of random numbers per image."""
_LARGEST_SHIFT = 1 / 8
_HOLE = 1 / 2


def augment(images: Tensor, draws: Tensor, names: list[AugmentationName]) -> Tensor:
    """Return changed images ``(N, C, H, W)`` by uniform ``draws`` ``(N, DRAWS)`` in [0, 1).

    Colour comes first, then a shift by up to an eighth of height and width, then a hole of half
    the height and width.
    Pixels that are shifted in or cut out are 0, the middle of the range.
    """
    for name, (function, columns) in _AUGMENTATIONS.items():
        if name in names:
            images = function(images, draws[:, columns])
    return images


def _color(images: Tensor, draws: Tensor) -> Tensor:
    """Return brightness + U(-0.5, 0.5), then saturation * U(0, 2), then contrast * U(0.5, 1.5)."""
    brightness, saturation, contrast = (draw[:, None, None, None] for draw in draws.unbind(1))
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (2 * saturation)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (contrast + 0.5)


def _translation(images: Tensor, draws: Tensor) -> Tensor:
    """Shift each image by whole pixels, along both axes by draws of their own; zeros come in."""
    for dim, draw in zip((2, 3), draws.unbind(1), strict=True):
        size = images.shape[dim]
        most = round(size * _LARGEST_SHIFT)
        shift = (draw * (2 * most + 1)).floor().long() - most
        source = torch.arange(size, device=images.device) - shift[:, None]
        inside = (source >= 0) & (source < size)
        shape = [len(images), 1, 1, 1]
        shape[dim] = size
        index = source.clamp(0, size - 1).view(shape).expand_as(images)
        images = images.gather(dim, index) * inside.view(shape)
    return images


def _cutout(images: Tensor, draws: Tensor) -> Tensor:
    """Set a rectangle of half the height and width to zero; its centre may be anywhere."""
    outside = []
    for dim, draw in zip((2, 3), draws.unbind(1), strict=True):
        size = images.shape[dim]
        hole = int(size * _HOLE + 0.5)
        centre = (draw * (size + (1 - hole % 2))).floor()
        start = centre - hole // 2
        place = torch.arange(size, device=images.device, dtype=draw.dtype)
        outside.append((place < start[:, None]) | (place >= start[:, None] + hole))
    kept = outside[0][:, None, :, None] | outside[1][:, None, None, :]
    return images * kept


_AUGMENTATIONS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], slice]] = {
    "color": (_color, slice(0, 3)),
    "translation": (_translation, slice(3, 5)),
    "cutout": (_cutout, slice(5, 7)),
}
"""Augmentations in the order of their use, each with its columns of the draws."""
