"""Build a generator or a discriminator from its configuration."""

from typing import Protocol

from torch import nn
from torch.nn.utils import parametrizations

from bngan.data.dataset import ImageSpec
from bngan.networks import dcgan, mlp, resnet, transformer
from bngan.networks.blocks import Discriminator, Generator
from bngan.networks.config import (
    ModelConfig,
    NetworkConfig,
)
from bngan.networks.initialization import initialize, weighted_layers


class Family(Protocol):
    """What a module of networks provides: the layers, as a flat list."""

    def generator_layers(self, model: ModelConfig, images: ImageSpec) -> list[nn.Module]:
        """``(N, latent_dim)`` to ``(N, *images.shape)``."""

    def discriminator_layers(
        self, model: ModelConfig, images: ImageSpec
    ) -> tuple[list[nn.Module], int]:
        """``(N, *images.shape)`` to features ``(N, F)``, and F."""


_FAMILIES: dict[str, Family] = {
    "mlp": mlp,
    "dcgan": dcgan,
    "resnet": resnet,
    "transformer": transformer,
}


def build_generator(model: ModelConfig, images: ImageSpec) -> nn.Module:
    """A generator of such images, initialised from torch's random state.

    Raises:
        ValueError: for what such images or such networks cannot have.
    """
    _check_classes(model, images)
    layers = _FAMILIES[model.network].generator_layers(model, images)
    return _finished(Generator(layers, model, images), model, model.generator)


def build_discriminator(model: ModelConfig, images: ImageSpec) -> nn.Module:
    """A discriminator of such images, initialised from torch's random state.

    Raises:
        ValueError: for what such images or such networks cannot have.
    """
    _check_classes(model, images)
    layers, features = _FAMILIES[model.network].discriminator_layers(model, images)
    network = Discriminator(layers, features, images.classes if model.conditional else 0)
    return _finished(network, model, model.discriminator)


def _finished(network: nn.Module, model: ModelConfig, config: NetworkConfig) -> nn.Module:
    initialize(network, model, config)
    for layer in list(weighted_layers(network)):
        # A generator's class embedding is an input, not a layer.
        if isinstance(layer, nn.Embedding) and config is model.generator:
            continue
        if config.weight_norm == "spectral":
            # The first power iterations in float64, whose rounding no float32 weight keeps.
            parametrizations.spectral_norm(layer.double())
            layer.float()
        elif config.weight_norm == "weight":
            parametrizations.weight_norm(layer, dim=int(isinstance(layer, nn.ConvTranspose2d)))
    return network


def _check_classes(model: ModelConfig, images: ImageSpec) -> None:
    if model.conditional and not images.classes:
        raise ValueError("model.conditional needs images with labels, and these have none")
