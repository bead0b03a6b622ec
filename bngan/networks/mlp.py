"""Fully connected networks: z -> [Linear, norm, ReLU] x depth -> Linear -> tanh, and its adversary."""

import math
from functools import partial

from torch import nn

from bngan.data import ImageSpec
from bngan.networks.blocks import batch_norm, block, generator_norm
from bngan.networks.config import ModelConfig


def generator_layers(model: ModelConfig, images: ImageSpec) -> list[nn.Module]:
    """``(N, latent_dim)`` to ``(N, *images.shape)``, with ``depth`` hidden layers."""
    config, layers, features = model.generator, list[nn.Module](), model.latent_dim
    for _ in range(1 if config.depth is None else config.depth):
        layer = partial(nn.Linear, features, config.width)
        norm = generator_norm(model, images, config.width, spatial=False)
        layers += block(layer, norm, nn.ReLU(), config)
        features = config.width
    output = nn.Linear(features, math.prod(images.shape))
    return [*layers, output, nn.Tanh(), nn.Unflatten(1, images.shape)]


def discriminator_layers(model: ModelConfig, images: ImageSpec) -> tuple[list[nn.Module], int]:
    """``(N, *images.shape)`` to features, with ``depth`` hidden layers of LeakyReLU(0.2)."""
    config, features = model.discriminator, math.prod(images.shape)
    layers: list[nn.Module] = [nn.Flatten()]
    for index in range(1 if config.depth is None else config.depth):
        # As in DCGAN, a normalised discriminator leaves its input layer alone.
        normalised = config.norm == "batch" and index > 0
        norm = batch_norm(config.width, spatial=False) if normalised else None
        layers += block(partial(nn.Linear, features, config.width), norm, nn.LeakyReLU(0.2), config)
        features = config.width
    return layers, features
