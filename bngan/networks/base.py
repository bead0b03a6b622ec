"""Base classes of all families: conditioning of generators, logits of discriminators."""

import torch
from torch import Tensor, nn

from bngan.data.dataset import ImageSpec
from bngan.networks.blocks import Block
from bngan.networks.config import ModelConfig
from bngan.networks.norms import Condition, ConditionalBatchNorm, apply, batch_norm
from bngan.serialization.problem import ConfigurationError, Problem

_MAPPING_UNITS = 128


class Generator(nn.Module):
    """Map latents to images; a subclass per family makes the layers.

    The label of a conditional generator modulates batch norms. Without batch norms its embedding is
    added to the latent.

    Attributes:
        stem: first layers; like those that follow, they get a condition if they take one.
        blocks: hidden layers, in order.
        to_image: last layers.
        mapping: network from the latent to the vector that modulates norms; by default the
            identity.
        embedding: a vector per class that is added to the latent; None if norms take the class, or
            if there are no classes.
    """

    stem: nn.Module
    blocks: nn.ModuleList
    to_image: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.embedding: nn.Module | None = None

    def synthesize(self, latents: Tensor, condition: Condition) -> Tensor:
        """Return images ``(N, C, H, W)`` of latents ``(N, latent_dim)``.

        A family with other layers overrides this method.
        """
        values = apply(self.stem, latents, condition)
        for block in self.blocks:
            values = apply(block, values, condition)
        return apply(self.to_image, values, condition)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return images in [-1, 1] of ``(N, latent_dim)`` and, if conditional, labels ``(N,)``."""
        if self.embedding is not None:
            latents = latents + self.embedding(labels)
        return self.synthesize(latents, Condition(self.mapping(latents), labels))

    def add_conditioning(self, model: ModelConfig, images: ImageSpec) -> None:
        """Make ``mapping`` and ``embedding``.

        Both depend on the layers that exist: call this method last.

        Raises:
            ConfigurationError: if a mapping network would have no layer to modulate.
        """
        modulated = any(isinstance(module, ConditionalBatchNorm) for module in self.modules())
        key = "model.generator.mapping"
        if model.generator.mapping and model.generator.norm != "self_modulated_batch":
            message = f"{key} needs model.generator.norm=self_modulated_batch"
            raise ConfigurationError(Problem(key, message))
        if model.generator.mapping and not modulated:
            raise ConfigurationError(Problem(key, f"{key} has no layer to modulate"))
        self.mapping = MappingNetwork(model) if model.generator.mapping else nn.Identity()
        if model.conditional and not modulated:
            self.embedding = nn.Embedding(images.classes, model.latent_dim)


class MappingNetwork(nn.Module):
    """Map latents to vectors whose distribution need not be one ball (Karras et al. 2019)."""

    def __init__(self, model: ModelConfig) -> None:
        super().__init__()
        self.blocks, features = nn.Sequential(), model.latent_dim
        for _ in range(model.generator.mapping):
            linear = nn.Linear(features, _MAPPING_UNITS, bias=False)
            norm = batch_norm(_MAPPING_UNITS, False, model.batch_norm)
            self.blocks.append(Block(linear=linear, norm=norm, activation=nn.ReLU()))
            features = _MAPPING_UNITS
        linear = nn.Linear(features, model.latent_dim, bias=False)
        norm = batch_norm(model.latent_dim, False, model.batch_norm)
        self.output = Block(linear=linear, norm=norm)

    def forward(self, latents: Tensor) -> Tensor:
        """Map ``(N, latent_dim)`` to the same shape."""
        mapped: Tensor = self.output(self.blocks(latents))
        return mapped


class Discriminator(nn.Module):
    """Judge images; a subclass per family makes the layers and defines ``extract``.

    A logit is linear in the features. A conditional network adds the projection of the features on
    the class's embedding (Miyato & Koyama 2018).

    Attributes:
        features: number of features that ``extract`` returns; a subclass sets it.
        logit: the linear output.
        embedding: a vector per class to project features on; None for an unconditional network.
    """

    features: int

    def __init__(self) -> None:
        super().__init__()
        self.embedding: nn.Embedding | None = None

    def extract(self, images: Tensor) -> Tensor:
        """Return features ``(N, features)`` of images ``(N, C, H, W)``; subclasses define it."""
        raise NotImplementedError

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits ``(N,)`` of images in [-1, 1] and, if conditional, labels ``(N,)``."""
        features = self.extract(images)
        # Logits are differences of large numbers: half precision is too coarse.
        with torch.autocast(images.device.type, enabled=False):
            features = features.to(self.logit.weight.dtype)
            logits: Tensor = self.logit(features).flatten()
            if self.embedding is not None:
                logits = logits + (self.embedding(labels) * features).sum(1)
        return logits

    def add_logit(self, classes: int) -> None:
        """Make ``logit`` and, if there are ``classes``, ``embedding``."""
        self.logit = nn.Linear(self.features, 1)
        if classes:
            self.embedding = nn.Embedding(classes, self.features)
            nn.init.normal_(self.embedding.weight, 0.0, self.features**-0.5)
