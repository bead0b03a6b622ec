"""Fully connected networks: z -> [Linear -> norm -> ReLU] -> Linear -> tanh, and its adversary."""

import math

from torch import nn

from bngan.networks.blocks import NormName, needs_bias, normalization


def generator(
    latent_dim: int,
    image_shape: tuple[int, int, int],
    width: int,
    depth: int | None,
    norm: NormName,
) -> nn.Module:
    """``(N, latent_dim)`` to ``(N, *image_shape)`` in [-1, 1], with ``depth`` hidden layers."""
    layers: list[nn.Module] = []
    features = latent_dim
    for _ in range(1 if depth is None else depth):
        layers.append(nn.Linear(features, width, bias=needs_bias(norm)))
        layers += [*normalization(norm, width, spatial=False), nn.ReLU()]
        features = width
    output = nn.Linear(features, math.prod(image_shape))
    return nn.Sequential(*layers, output, nn.Tanh(), nn.Unflatten(1, image_shape))


def discriminator(
    image_shape: tuple[int, int, int], width: int, depth: int | None, norm: NormName
) -> nn.Module:
    """``(N, *image_shape)`` to logits ``(N,)``, with ``depth`` hidden layers of LeakyReLU(0.2)."""
    layers: list[nn.Module] = [nn.Flatten()]
    features = math.prod(image_shape)
    for layer in range(1 if depth is None else depth):
        # As in DCGAN, a normalised discriminator leaves its input layer alone.
        here = norm if layer > 0 else "none"
        layers.append(nn.Linear(features, width, bias=needs_bias(here)))
        layers += [*normalization(here, width, spatial=False), nn.LeakyReLU(0.2)]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, 1), nn.Flatten(0))
