"""Residual networks after SNGAN (Miyato et al. 2018) and BigGAN (Brock et al. 2019), for any size."""

import math
from functools import partial

from torch import Tensor, nn

from bngan.data.dataset import ImageSpec
from bngan.networks.blocks import (
    Size,
    ToMap,
    activation,
    attended,
    check_attention,
    convolution,
    needs_bias,
    normalised_activation,
    output,
    resolutions,
    widths,
)
from bngan.networks.config import ModelConfig
from bngan.networks.norms import Condition, Conditioned, apply, generator_norm, norm


class GeneratorBlock(Conditioned):
    """Norm, activation, enlargement, convolution; norm, activation, convolution; plus the input."""

    def __init__(
        self, model: ModelConfig, images: ImageSpec, channels: tuple[int, int], size: Size
    ) -> None:
        super().__init__()
        before, after = channels
        first, second = (generator_norm(model, images, n, spatial=True) for n in channels)
        bias = needs_bias(second, model.generator)
        self.residual = nn.ModuleList(
            [
                *normalised_activation(first, model.generator),
                nn.Upsample(size),
                convolution(before, after, bias),
                *normalised_activation(second, model.generator),
                # What is added to every place of a channel, the norms to come take away.
                convolution(after, after, bias),
            ]
        )
        self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, bias=bias), nn.Upsample(size))

    def forward(self, maps: Tensor, condition: Condition | None) -> Tensor:
        """``(N, before, ...)`` to ``(N, after, *size)``."""
        values = maps
        for layer in self.residual:
            values = apply(layer, values, condition)
        shortcut: Tensor = self.shortcut(maps)
        return shortcut + values


class DiscriminatorBlock(nn.Module):
    """Activation and convolution twice, and pooling to half the size; plus the input, pooled.

    The first block, which sees images, starts with its convolution.
    """

    def __init__(
        self, model: ModelConfig, channels: tuple[int, int], first: bool, halve: bool
    ) -> None:
        super().__init__()
        config, (before, after) = model.discriminator, channels
        norms = partial(norm, config.norm, spatial=True, numbers=model.batch_norm)
        second = norms(after)
        layers = [] if first else normalised_activation(norms(before), config)
        layers += [
            convolution(before, after, needs_bias(second, config)),
            *normalised_activation(second, config),
            convolution(after, after, True),
        ]
        self.residual = nn.Sequential(*layers)
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        self.pool = nn.AvgPool2d(2, ceil_mode=True) if halve else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """``(N, before, H, W)`` to ``(N, after, H, W)`` or half of it."""
        pooled: Tensor = self.shortcut(self.pool(maps)) + self.pool(self.residual(maps))
        return pooled


class _SumPool(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.sum((2, 3))


def generator_layers(model: ModelConfig, images: ImageSpec) -> list[nn.Module]:
    """``(N, latent_dim)`` to ``(N, *images.shape)``; channels halve as the map doubles."""
    config, (channels, height, width) = model.generator, images.shape
    sizes = resolutions(height, width, config.depth)[::-1]
    check_attention(config, sizes)
    before, *others = widths(config, len(sizes))[::-1]
    start = (before, *sizes[0])
    layers: list[nn.Module] = [
        nn.Linear(model.latent_dim, math.prod(start)),
        ToMap(start),
        *attended(before, sizes[0], config),
    ]
    for after, size in zip(others, sizes[1:], strict=True):
        layers.append(GeneratorBlock(model, images, (before, after), size))
        layers += attended(after, size, config)
        before = after
    layers += normalised_activation(generator_norm(model, images, before, spatial=True), config)
    last = partial(convolution, before, channels)
    return layers + output(last, channels, True, model)


def discriminator_layers(model: ModelConfig, images: ImageSpec) -> tuple[list[nn.Module], int]:
    """``(N, *images.shape)`` to features: a block per halving, one more, and the sum over places."""
    config, (before, height, width) = model.discriminator, images.shape
    sizes, layers = resolutions(height, width, config.depth), list[nn.Module]()
    check_attention(config, sizes[1:])
    for index, after in enumerate(widths(config, len(sizes) - 1)):
        layers.append(DiscriminatorBlock(model, (before, after), first=index == 0, halve=True))
        layers += attended(after, sizes[index + 1], config)
        before = after
    last = before if len(sizes) > 1 else config.width
    layers.append(DiscriminatorBlock(model, (before, last), first=len(sizes) == 1, halve=False))
    # No norm here: batch norm before the output would blind it.
    return [*layers, activation(config), _SumPool()], last
