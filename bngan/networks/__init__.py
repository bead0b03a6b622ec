"""Generators and discriminators, built for given images.

Every generator maps latents ``(N, latent_dim)`` and, if conditional, labels ``(N,)`` to images
``(N, C, H, W)`` in [-1, 1]. Every discriminator maps images (and labels) to logits ``(N,)``.
Networks contain torch's own batch norms; ``bngan.batchnorm.layer.synchronize`` prepares them for
workers.
"""

from bngan.data.dataset import ImageSpec
from bngan.networks.config import BatchNormConfig, DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.networks.factory import build_discriminator, build_generator

__all__ = [
    "BatchNormConfig",
    "DiscriminatorConfig",
    "GeneratorConfig",
    "ImageSpec",
    "ModelConfig",
    "build_discriminator",
    "build_generator",
]
