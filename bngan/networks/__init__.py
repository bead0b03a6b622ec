"""Generators and discriminators, built for given images.

Every generator maps latents ``(N, latent_dim)`` and, if conditional, labels ``(N,)`` to images
``(N, C, H, W)`` in [-1, 1]; every discriminator maps images (and labels) to logits ``(N,)``. Networks
contain torch's own batch norms; ``bngan.normalization.synchronize`` prepares them for several workers.
"""

from typing import Protocol

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from bngan.data import ImageSpec
from bngan.networks import dcgan, mlp
from bngan.networks.blocks import Discriminator, Generator
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig

__all__ = [
    "DiscriminatorConfig",
    "GeneratorConfig",
    "ImageSpec",
    "ModelConfig",
    "build_discriminator",
    "build_generator",
]


class Family(Protocol):
    """What a module of networks provides: the layers, as a flat list."""

    def generator_layers(self, model: ModelConfig, images: ImageSpec) -> list[nn.Module]:
        """``(N, latent_dim)`` to ``(N, *images.shape)``."""

    def discriminator_layers(
        self, model: ModelConfig, images: ImageSpec
    ) -> tuple[list[nn.Module], int]:
        """``(N, *images.shape)`` to features ``(N, F)``, and F."""


_FAMILIES: dict[str, Family] = {"mlp": mlp, "dcgan": dcgan}


def build_generator(model: ModelConfig, images: ImageSpec) -> nn.Module:
    """A generator of such images, initialised from torch's random state.

    Raises:
        ValueError: for a conditional model of images without labels.
    """
    _check_classes(model, images)
    return Generator(_FAMILIES[model.network].generator_layers(model, images), model, images)


def build_discriminator(model: ModelConfig, images: ImageSpec) -> nn.Module:
    """A discriminator of such images, initialised from torch's random state.

    Raises:
        ValueError: for a conditional model of images without labels.
    """
    _check_classes(model, images)
    layers, features = _FAMILIES[model.network].discriminator_layers(model, images)
    network = Discriminator(layers, features, images.classes if model.conditional else 0)
    if model.discriminator.spectral_norm:
        for module in list(network.modules()):
            if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
                spectral_norm(module)
    return network


def _check_classes(model: ModelConfig, images: ImageSpec) -> None:
    if model.conditional and not images.classes:
        raise ValueError("model.conditional needs images with labels, and these have none")
