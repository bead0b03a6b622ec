"""Convolutional networks after DCGAN (Radford et al. 2015), for any image size from 4 pixels up.

The generator starts from a small map and doubles it; at odd sizes a kernel of 3 in place of 4 makes
the map one pixel smaller than double, so no size has to be a power of two.
"""

import math
from itertools import pairwise

from torch import nn

from bngan.networks.blocks import NormName, needs_bias, normalization

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


def _initialise(network: nn.Module, norm: NormName) -> nn.Module:
    """DCGAN's N(0, 0.02) where a norm rescales what comes out; torch's own initialisation elsewhere.

    Without a norm, weights that small shrink the signal from layer to layer.
    """
    if norm == "none":
        return network
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def generator(
    latent_dim: int,
    image_shape: tuple[int, int, int],
    width: int,
    depth: int | None,
    norm: NormName,
) -> nn.Module:
    """``(N, latent_dim)`` to ``(N, *image_shape)`` in [-1, 1]; channels halve as the map doubles."""
    channels, height, image_width = image_shape
    sizes = _resolutions(height, image_width, depth)[::-1]
    widths = [width * 2**i for i in reversed(range(len(sizes) - 1))] or [width]
    start = (widths[0], *sizes[0])
    layers: list[nn.Module] = [
        nn.Linear(latent_dim, math.prod(start), bias=needs_bias(norm)),
        nn.Unflatten(1, start),
        *normalization(norm, widths[0], spatial=True),
        nn.ReLU(),
    ]
    for (before, after), size in zip(pairwise(widths), sizes[1:-1], strict=True):
        layers.append(
            nn.ConvTranspose2d(before, after, _kernel(size), 2, padding=1, bias=needs_bias(norm))
        )
        layers += [*normalization(norm, after, spatial=True), nn.ReLU()]
    if len(sizes) == 1:
        layers.append(nn.Conv2d(widths[-1], channels, 3, padding=1))
    else:
        layers.append(nn.ConvTranspose2d(widths[-1], channels, _kernel(sizes[-1]), 2, padding=1))
    return _initialise(nn.Sequential(*layers, nn.Tanh()), norm)


def discriminator(
    image_shape: tuple[int, int, int], width: int, depth: int | None, norm: NormName
) -> nn.Module:
    """``(N, *image_shape)`` to logits ``(N,)``; channels double as the map halves."""
    channels, height, image_width = image_shape
    sizes = _resolutions(height, image_width, depth)
    layers: list[nn.Module] = []
    before = channels
    for layer, size in enumerate(sizes[:-1]):
        after = width * 2**layer
        here = norm if layer > 0 else "none"
        layers.append(nn.Conv2d(before, after, _kernel(size), 2, padding=1, bias=needs_bias(here)))
        layers += [*normalization(here, after, spatial=True), nn.LeakyReLU(0.2)]
        before = after
    features = before * math.prod(sizes[-1])
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 1), nn.Flatten(0))
    return _initialise(network, norm)
