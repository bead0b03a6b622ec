"""Convolutional networks after DCGAN (Radford et al. 2015), for any image size from 4 pixels up.

The generator starts from a small map and doubles it; at odd sizes a kernel of 3 in place of 4 makes
the map one pixel smaller than double, so no size has to be a power of two.
"""

import math
from functools import partial
from itertools import pairwise

from torch import nn

from bngan.data import ImageSpec
from bngan.networks.blocks import batch_norm, block, generator_norm
from bngan.networks.config import ModelConfig

Size = tuple[int, int]


def _resolutions(height: int, width: int, depth: int | None) -> list[Size]:
    """Map sizes from the image down: halved, rounding up, ``depth`` times or to 4-7 pixels."""
    sizes = [(height, width)]
    while (max(sizes[-1]) > 7) if depth is None else (len(sizes) <= depth):
        sizes.append((math.ceil(sizes[-1][0] / 2), math.ceil(sizes[-1][1] / 2)))
    return sizes


def _kernel(size: Size) -> Size:
    """Kernel that makes stride 2, padding 1 map between ``size`` and its half rounded up."""
    return (4 if size[0] % 2 == 0 else 3, 4 if size[1] % 2 == 0 else 3)


def _initialise(layers: list[nn.Module], norm: str) -> list[nn.Module]:
    """DCGAN's N(0, 0.02) where a norm rescales what comes out; torch's own initialisation elsewhere.

    Without a norm, weights that small shrink the signal from layer to layer.
    """
    if norm == "none":
        return layers
    for module in layers:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return layers


def generator_layers(model: ModelConfig, images: ImageSpec) -> list[nn.Module]:
    """``(N, latent_dim)`` to ``(N, *images.shape)``; channels halve as the map doubles."""
    config, (channels, height, width) = model.generator, images.shape
    sizes = _resolutions(height, width, config.depth)[::-1]
    widths = [config.width * 2**i for i in reversed(range(len(sizes) - 1))] or [config.width]
    start = (widths[0], *sizes[0])
    norm = partial(generator_norm, model, images, spatial=True)
    first = partial(nn.Linear, model.latent_dim, math.prod(start))
    layers = block(first, norm(widths[0]), nn.ReLU(), config)
    layers.insert(1, nn.Unflatten(1, start))
    for (before, after), size in zip(pairwise(widths), sizes[1:-1], strict=True):
        up = partial(_transposed, before, after, _kernel(size))
        layers += block(up, norm(after), nn.ReLU(), config)
    if len(sizes) == 1:
        layers.append(nn.Conv2d(widths[-1], channels, 3, padding=1))
    else:
        layers.append(nn.ConvTranspose2d(widths[-1], channels, _kernel(sizes[-1]), 2, padding=1))
    return _initialise([*layers, nn.Tanh()], config.norm)


def discriminator_layers(model: ModelConfig, images: ImageSpec) -> tuple[list[nn.Module], int]:
    """``(N, *images.shape)`` to features; channels double as the map halves."""
    config, (before, height, width) = model.discriminator, images.shape
    sizes, layers = _resolutions(height, width, config.depth), list[nn.Module]()
    for index, size in enumerate(sizes[:-1]):
        after = config.width * 2**index
        normalised = config.norm == "batch" and index > 0
        norm = batch_norm(after, spatial=True) if normalised else None
        down = partial(_convolution, before, after, _kernel(size))
        layers += block(down, norm, nn.LeakyReLU(0.2), config)
        before = after
    layers.append(nn.Flatten())
    return _initialise(layers, config.norm), before * math.prod(sizes[-1])


def _convolution(before: int, after: int, kernel: Size, bias: bool) -> nn.Module:
    return nn.Conv2d(before, after, kernel, 2, padding=1, bias=bias)


def _transposed(before: int, after: int, kernel: Size, bias: bool) -> nn.Module:
    return nn.ConvTranspose2d(before, after, kernel, 2, padding=1, bias=bias)
