"""Residual networks after SNGAN (Miyato et al. 2018) and BigGAN (Brock et al. 2019), for any size.

In shapes, w is the width.
"""

import math
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from bngan.data.dataset import ImageSpec
from bngan.networks.base import Discriminator, Generator
from bngan.networks.blocks import (
    AveragePool,
    Block,
    Size,
    ToMap,
    activation,
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
from bngan.networks.norms import Condition, Conditioned, generator_norm, norm


class GeneratorBlock(Conditioned):
    """Residual block: norm, activation, upsampling, convolution; norm, activation, convolution."""

    def __init__(
        self, model: ModelConfig, images: ImageSpec, channels: tuple[int, int], size: Size
    ) -> None:
        super().__init__()
        config, (before, after), self.size = model.generator, channels, size
        norm1, norm2 = (generator_norm(model, images, n, spatial=True) for n in channels)
        # Later norms remove a constant that is added to every place of a channel.
        bias = needs_bias(norm2, config)
        self.residual = Block(
            **normalized_activation(norm1, config, "1"),
            upsample=nn.Upsample(size),
            conv1=convolution(before, after, bias),
            **normalized_activation(norm2, config, "2"),
            conv2=convolution(after, after, bias),
        )
        self.skip = nn.Conv2d(before, after, 1, bias=bias)
        self.attention = attended(after, size, config)

    def forward(self, maps: Tensor, condition: Condition | None) -> Tensor:
        """Map ``(N, before, ...)`` to ``(N, after, *size)``."""
        residual = self.residual(maps, condition)
        maps = F.interpolate(self.skip(maps), self.size) + residual
        return maps if self.attention is None else self.attention(maps)


class DiscriminatorBlock(nn.Module):
    """Residual block: activation and convolution twice, then pooling to the ``half`` size, if any.

    The first block takes images and starts with its convolution.
    """

    def __init__(
        self, model: ModelConfig, channels: tuple[int, int], first: bool, half: Size | None
    ) -> None:
        super().__init__()
        config, (before, after) = model.discriminator, channels
        norms = partial(norm, config.norm, spatial=True, numbers=model.batch_norm)
        norm2 = norms(after)
        start = {} if first else normalized_activation(norms(before), config, "1")
        self.residual = Block(
            **start,
            conv1=convolution(before, after, needs_bias(norm2, config)),
            **normalized_activation(norm2, config, "2"),
            conv2=convolution(after, after, True),
        )
        self.skip = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        self.pool = AveragePool() if half else nn.Identity()
        self.attention = attended(after, half, config) if half else None

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(N, before, H, W)`` to ``(N, after, H, W)`` or ``(N, after, *half)``."""
        maps = self.skip(self.pool(maps)) + self.pool(self.residual(maps))
        return maps if self.attention is None else self.attention(maps)


class ResNetGenerator(Generator):
    """Double a small map up to the image's size by residual blocks; channels halve meanwhile."""

    def __init__(self, model: ModelConfig, images: ImageSpec) -> None:
        super().__init__()
        config, (channels, height, width) = model.generator, images.shape
        sizes = resolutions(height, width, config.depth)[::-1]
        check_attention(config, sizes)
        before, *others = widths(config, len(sizes))[::-1]
        start = (before, *sizes[0])
        self.stem = Block(  # 32x32 images: (N, 8w, 4, 4)
            linear=nn.Linear(model.latent_dim, math.prod(start)),
            to_map=ToMap(start),
            attention=attended(before, sizes[0], config),
        )
        self.blocks = nn.ModuleList()  # (N, 4w, 8, 8), (N, 2w, 16, 16), then (N, w, 32, 32)
        for after, size in zip(others, sizes[1:], strict=True):
            self.blocks.append(GeneratorBlock(model, images, (before, after), size))
            before = after
        self.to_image = Block(  # (N, C, 32, 32)
            **normalized_activation(generator_norm(model, images, before, spatial=True), config),
            conv=convolution(before, channels, not config.output_norm),
            **output_layers(channels, True, model),
        )


class ResNetDiscriminator(Discriminator):
    """Halve the image by residual blocks, add a block that keeps the size, and sum over places."""

    def __init__(self, model: ModelConfig, images: ImageSpec) -> None:
        super().__init__()
        config, (before, height, width) = model.discriminator, images.shape
        sizes = resolutions(height, width, config.depth)
        check_attention(config, sizes[1:])
        channels, halves = widths(config, len(sizes) - 1), [*sizes[1:], None]
        channels += channels[-1:] or [config.width]
        # 32x32 images: (N, w, 16, 16), (N, 2w, 8, 8), then (N, 4w, 4, 4) twice
        self.blocks = nn.Sequential()
        for after, half in zip(channels, halves, strict=True):
            first = not len(self.blocks)
            self.blocks.append(DiscriminatorBlock(model, (before, after), first, half))
            before = after
        # No norm here: batch norm before the output would blind the discriminator.
        self.activation = activation(config)
        self.features = before

    def extract(self, images: Tensor) -> Tensor:
        """Return features ``(N, features)`` of images ``(N, C, H, W)``."""
        sums: Tensor = self.activation(self.blocks(images)).sum((2, 3))  # (N, 4w)
        return sums
