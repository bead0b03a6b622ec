"""Convolutional networks after DCGAN (Radford et al. 2015), for any image size from 4 pixels up.

The generator starts from a small map and doubles it; at odd sizes a kernel of 3 in place of 4 makes
the map one pixel smaller than double, so no size has to be a power of two.
"""

import math
from functools import partial

from torch import nn

from bngan.data.dataset import ImageSpec
from bngan.networks.blocks import (
    FromMap,
    Size,
    ToMap,
    attended,
    block,
    check_attention,
    convolution,
    output,
    resolutions,
    widths,
)
from bngan.networks.config import ModelConfig
from bngan.networks.norms import generator_norm, norm


def _kernel(size: Size) -> Size:
    """Kernel that makes stride 2, padding 1 map between ``size`` and its half rounded up."""
    return (4 if size[0] % 2 == 0 else 3, 4 if size[1] % 2 == 0 else 3)


def generator_layers(model: ModelConfig, images: ImageSpec) -> list[nn.Module]:
    """``(N, latent_dim)`` to ``(N, *images.shape)``; channels halve as the map doubles."""
    config, (channels, height, width) = model.generator, images.shape
    largest, *maps = resolutions(height, width, config.depth)
    sizes = maps[::-1] or [largest]
    check_attention(config, sizes)
    before, *others = widths(config, len(sizes))[::-1]
    start = (before, *sizes[0])
    norms = partial(generator_norm, model, images, spatial=True)
    first = partial(nn.Linear, model.latent_dim, math.prod(start))
    layers = block(first, norms(before), config)
    layers.insert(1, ToMap(start))
    layers += attended(before, sizes[0], config)
    for after, size in zip(others, sizes[1:], strict=True):
        layers += block(partial(_transposed, _kernel(size), before, after), norms(after), config)
        layers += attended(after, size, config)
        before = after
    last = partial(_transposed, _kernel(largest)) if maps else convolution
    return layers + output(partial(last, before, channels), channels, True, model)


def discriminator_layers(model: ModelConfig, images: ImageSpec) -> tuple[list[nn.Module], int]:
    """``(N, *images.shape)`` to features; channels double as the map halves."""
    config, (before, height, width) = model.discriminator, images.shape
    sizes, layers = resolutions(height, width, config.depth), list[nn.Module]()
    check_attention(config, sizes[1:])
    for index, after in enumerate(widths(config, len(sizes) - 1)):
        name = config.norm if index > 0 or config.norm_first else "none"
        down = partial(_convolution, _kernel(sizes[index]), before, after)
        layers += block(down, norm(name, after, True, model.batch_norm), config)
        layers += attended(after, sizes[index + 1], config)
        before = after
    return [*layers, FromMap()], before * math.prod(sizes[-1])


def _convolution(kernel: Size, before: int, after: int, bias: bool) -> nn.Module:
    return nn.Conv2d(before, after, kernel, 2, padding=1, bias=bias)


def _transposed(kernel: Size, before: int, after: int, bias: bool) -> nn.Module:
    return nn.ConvTranspose2d(before, after, kernel, 2, padding=1, bias=bias)
