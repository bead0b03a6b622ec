"""Convolutional networks after DCGAN (Radford et al. 2015), for any image size from 4 pixels up.

The generator starts from a small map and doubles it. At odd sizes a kernel of 3 instead of 4 makes
the map one pixel smaller than double, so no size has to be a power of two. In shapes, w is the
width.
"""

import math

from torch import Tensor, nn

from bngan.data.dataset import ImageSpec
from bngan.networks.base import Discriminator, Generator
from bngan.networks.blocks import (
    Block,
    FromMap,
    Size,
    ToMap,
    attended,
    check_attention,
    convolution,
    needs_bias,
    normalized_activation,
    output_layers,
    resolutions,
    widths,
)
from bngan.networks.config import ModelConfig
from bngan.networks.norms import generator_norm, norm


class DCGANGenerator(Generator):
    """Double a small map up to the image's size; channels halve meanwhile."""

    def __init__(self, model: ModelConfig, images: ImageSpec) -> None:
        super().__init__()
        config, (channels, height, width) = model.generator, images.shape
        largest, *maps = resolutions(height, width, config.depth)
        sizes = maps[::-1] or [largest]
        check_attention(config, sizes)
        before, *others = widths(config, len(sizes))[::-1]
        start = (before, *sizes[0])
        first_norm = generator_norm(model, images, before, spatial=True)
        bias = needs_bias(first_norm, config)
        self.stem = Block(  # 32x32 images: (N, 4w, 4, 4)
            linear=nn.Linear(model.latent_dim, math.prod(start), bias=bias),
            to_map=ToMap(start),
            **normalized_activation(first_norm, config),
            attention=attended(before, sizes[0], config),
        )
        self.blocks = nn.ModuleList()  # (N, 2w, 8, 8), then (N, w, 16, 16)
        for after, size in zip(others, sizes[1:], strict=True):
            hidden_norm = generator_norm(model, images, after, spatial=True)
            block = Block(
                conv=_doubling(before, after, size, needs_bias(hidden_norm, config)),
                **normalized_activation(hidden_norm, config),
                attention=attended(after, size, config),
            )
            self.blocks.append(block)
            before = after
        bias = not config.output_norm
        self.to_image = Block(  # (N, C, 32, 32)
            conv=_doubling(before, channels, largest, bias)
            if maps
            else convolution(before, channels, bias),
            **output_layers(channels, True, model),
        )


class DCGANDiscriminator(Discriminator):
    """Halve the image down to a small map; its pixels are the features, and channels double."""

    def __init__(self, model: ModelConfig, images: ImageSpec) -> None:
        super().__init__()
        config, (before, height, width) = model.discriminator, images.shape
        sizes = resolutions(height, width, config.depth)
        check_attention(config, sizes[1:])
        # 32x32 images: (N, w, 16, 16), (N, 2w, 8, 8), then (N, 4w, 4, 4)
        self.blocks = nn.Sequential()
        for index, after in enumerate(widths(config, len(sizes) - 1)):
            name = config.norm if index > 0 or config.norm_first else "none"
            hidden_norm = norm(name, after, True, model.batch_norm)
            bias = needs_bias(hidden_norm, config)
            block = Block(
                conv=nn.Conv2d(before, after, _kernel(sizes[index]), 2, padding=1, bias=bias),
                **normalized_activation(hidden_norm, config),
                attention=attended(after, sizes[index + 1], config),
            )
            self.blocks.append(block)
            before = after
        self.flatten = FromMap()
        self.features = before * math.prod(sizes[-1])

    def extract(self, images: Tensor) -> Tensor:
        """Return features ``(N, features)`` of images ``(N, C, H, W)``."""
        features: Tensor = self.flatten(self.blocks(images))  # (N, 4w * 4 * 4)
        return features


def _doubling(before: int, after: int, size: Size, bias: bool) -> nn.Module:
    """Return a transposed convolution to maps of ``size``, from half of it, rounded up."""
    return nn.ConvTranspose2d(before, after, _kernel(size), 2, padding=1, bias=bias)


def _kernel(size: Size) -> Size:
    """Return the kernel from ``size`` to its rounded-up half, or back, for stride 2, padding 1."""
    return 4 - size[0] % 2, 4 - size[1] % 2
