"""Fully connected networks: z -> [Linear, norm, activation] x depth -> Linear -> tanh; and D."""

import math

from torch import Tensor, nn

from bngan.data.dataset import ImageSpec
from bngan.networks.base import Discriminator, Generator
from bngan.networks.blocks import (
    Block,
    check_attention,
    needs_bias,
    normalized_activation,
    output_layers,
    setting_error,
)
from bngan.networks.config import ModelConfig, NetworkConfig
from bngan.networks.norms import generator_norm, norm


class MLPGenerator(Generator):
    """Map a latent to an image's pixels, with ``depth`` hidden layers (default 1)."""

    def __init__(self, model: ModelConfig, images: ImageSpec) -> None:
        super().__init__()
        config, features = model.generator, model.latent_dim
        _check(config)
        pixels = math.prod(images.shape)
        self.stem, self.blocks = nn.Identity(), nn.ModuleList()
        for _ in range(_depth(config)):
            hidden_norm = generator_norm(model, images, config.width, spatial=False)
            self.blocks.append(_hidden_layer(features, hidden_norm, config))
            features = config.width
        self.to_image = Block(
            linear=nn.Linear(features, pixels, bias=not config.output_norm),
            **output_layers(pixels, False, model),
            to_map=nn.Unflatten(1, images.shape),
        )


class MLPDiscriminator(Discriminator):
    """Judge an image by its pixels, with ``depth`` hidden layers (default 1)."""

    def __init__(self, model: ModelConfig, images: ImageSpec) -> None:
        super().__init__()
        config, features = model.discriminator, math.prod(images.shape)
        _check(config)
        self.blocks = nn.Sequential()
        for index in range(_depth(config)):
            # As in DCGAN, a normalised discriminator leaves its input layer alone.
            name = config.norm if index > 0 or config.norm_first else "none"
            hidden_norm = norm(name, config.width, False, model.batch_norm)
            self.blocks.append(_hidden_layer(features, hidden_norm, config))
            features = config.width
        self.features = features

    def extract(self, images: Tensor) -> Tensor:
        """Return features ``(N, features)`` of images ``(N, C, H, W)``."""
        features: Tensor = self.blocks(images.flatten(1))  # (N, width)
        return features


def _hidden_layer(features: int, norm: nn.Module | None, config: NetworkConfig) -> Block:
    linear = nn.Linear(features, config.width, bias=needs_bias(norm, config))
    return Block(linear=linear, **normalized_activation(norm, config))


def _depth(config: NetworkConfig) -> int:
    return 1 if config.depth is None else config.depth


def _check(config: NetworkConfig) -> None:
    check_attention(config, [])
    if config.norm == "instance":
        raise setting_error(config, "norm", "instance norm is about maps, and an mlp has none")
