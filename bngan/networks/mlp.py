"""Fully connected networks: z -> [Linear, norm, activation] x depth -> Linear -> tanh; and D."""

import math
from functools import partial

from torch import nn

from bngan.data.dataset import ImageSpec
from bngan.networks.blocks import block, check_attention, named, output
from bngan.networks.config import ModelConfig, NetworkConfig
from bngan.networks.norms import generator_norm, norm


def generator_layers(model: ModelConfig, images: ImageSpec) -> list[nn.Module]:
    """``(N, latent_dim)`` to ``(N, *images.shape)``, with ``depth`` hidden layers."""
    config, layers, features = model.generator, list[nn.Module](), model.latent_dim
    _check(config)
    for _ in range(_depth(config)):
        hidden = generator_norm(model, images, config.width, spatial=False)
        layers += block(partial(nn.Linear, features, config.width), hidden, config)
        features = config.width
    pixels = math.prod(images.shape)
    layers += output(partial(nn.Linear, features, pixels), pixels, False, model)
    return [*layers, nn.Unflatten(1, images.shape)]


def discriminator_layers(model: ModelConfig, images: ImageSpec) -> tuple[list[nn.Module], int]:
    """``(N, *images.shape)`` to features, with ``depth`` hidden layers."""
    config, features = model.discriminator, math.prod(images.shape)
    _check(config)
    layers: list[nn.Module] = [nn.Flatten()]
    for index in range(_depth(config)):
        # As in DCGAN, a normalised discriminator leaves its input layer alone.
        name = config.norm if index > 0 or config.norm_first else "none"
        hidden = norm(name, config.width, False, model.batch_norm)
        layers += block(partial(nn.Linear, features, config.width), hidden, config)
        features = config.width
    return layers, features


def _depth(config: NetworkConfig) -> int:
    return 1 if config.depth is None else config.depth


def _check(config: NetworkConfig) -> None:
    check_attention(config, [])
    if config.norm == "instance":
        raise ValueError(
            f"{named(config, 'norm')}: instance norm is about maps, and an mlp has none"
        )
