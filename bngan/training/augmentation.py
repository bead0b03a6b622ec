"""Differentiable augmentation of what the discriminator sees, after DiffAugment (Zhao et al. 2020).

Real and fake images are changed alike, each by random numbers of its own, so that the discriminator
cannot learn a small data set by heart and the generator does not learn the changes.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

AugmentationName = Literal["translation", "cutout", "color"]
DRAWS = 7
"""Random numbers per image."""
_LARGEST_SHIFT = 1 / 8
_HOLE = 1 / 2


def augment(images: Tensor, draws: Tensor, names: list[AugmentationName]) -> Tensor:
    """Changed images ``(N, C, H, W)`` by uniform ``draws`` ``(N, DRAWS)`` in [0, 1).

    Colour first, then shift by up to an eighth of the size, then a hole of half the size; what is
    shifted in or cut out is 0, the middle of the range.
    """
    for name in ("color", "translation", "cutout"):
        if name in names:
            function, columns = _AUGMENTATIONS[name]
            images = function(images, draws[:, columns])
    return images


def _color(images: Tensor, draws: Tensor) -> Tensor:
    """Brightness + U(-0.5, 0.5); saturation * U(0, 2); contrast * U(0.5, 1.5)."""
    brightness, saturation, contrast = (draw[:, None, None, None] for draw in draws.unbind(1))
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (2 * saturation)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (contrast + 0.5)


def _translation(images: Tensor, draws: Tensor) -> Tensor:
    """Shift by whole pixels, each from its own draw; zeros come in."""
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
    """Zeros in a square of half the size, centred anywhere."""
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
