"""Generators and discriminators, built for a given image shape.

Every generator maps latents ``(N, latent_dim)`` to images ``(N, C, H, W)`` in [-1, 1]; every
discriminator maps such images to logits ``(N,)``. Networks contain torch's own batch norms;
``bngan.normalization.synchronize`` prepares them for several workers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch import nn

from bngan.networks import dcgan, mlp
from bngan.networks.blocks import NormName

ImageShape = tuple[int, int, int]


class Family(Protocol):
    """What a module of networks provides."""

    def generator(
        self,
        latent_dim: int,
        image_shape: ImageShape,
        width: int,
        depth: int | None,
        norm: NormName,
    ) -> nn.Module:
        """``(N, latent_dim)`` to ``(N, *image_shape)``."""

    def discriminator(
        self, image_shape: ImageShape, width: int, depth: int | None, norm: NormName
    ) -> nn.Module:
        """``(N, *image_shape)`` to ``(N,)``."""


@dataclass
class GeneratorConfig:
    """The generator's shape."""

    width: int = 128
    """Units per hidden layer (mlp), or channels at the largest hidden resolution (dcgan)."""
    depth: int | None = None
    """Hidden layers (mlp, default 1), or doublings of the size (dcgan, default: from 4-7 pixels)."""
    norm: NormName = "batch"
    """Normalisation between each hidden layer and its ReLU: batch or none. Never on the output."""


@dataclass
class DiscriminatorConfig:
    """The discriminator's shape."""

    width: int = 128
    """Units per hidden layer (mlp), or channels at the largest hidden resolution (dcgan)."""
    depth: int | None = None
    """Hidden layers (mlp, default 1), or halvings of the size (dcgan, default: to 4-7 pixels)."""
    norm: NormName = "none"
    """Normalisation: none, or batch (not on the input layer), which the literature finds harmful."""


@dataclass
class ModelConfig:
    """The pair of networks."""

    network: Literal["mlp", "dcgan"] = "mlp"
    """Family: mlp (fully connected) or dcgan (convolutions, Radford et al. 2015)."""
    latent_dim: int = 64
    """Length of the latent vector z ~ N(0, 1)."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelConfig":
        """Inverse of ``dataclasses.asdict``."""
        parts = {
            "generator": GeneratorConfig(**values["generator"]),
            "discriminator": DiscriminatorConfig(**values["discriminator"]),
        }
        return cls(**{**values, **parts})


_FAMILIES: dict[str, Family] = {"mlp": mlp, "dcgan": dcgan}


def build_generator(config: ModelConfig, image_shape: ImageShape) -> nn.Module:
    """A generator for ``image_shape`` = (C, H, W), initialised from torch's random state."""
    part = config.generator
    return _FAMILIES[config.network].generator(
        config.latent_dim, image_shape, part.width, part.depth, part.norm
    )


def build_discriminator(config: ModelConfig, image_shape: ImageShape) -> nn.Module:
    """A discriminator for ``image_shape`` = (C, H, W), initialised from torch's random state."""
    part = config.discriminator
    return _FAMILIES[config.network].discriminator(image_shape, part.width, part.depth, part.norm)
