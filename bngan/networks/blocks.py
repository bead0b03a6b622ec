"""What the network families share: normalised layers, and the frames around lists of layers."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bngan.data import ImageSpec
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig

_SELF_MODULATION_UNITS = 32


class ModulatedNorm(nn.Module):
    """Batch norm whose gamma and beta are functions of a condition, one pair per sample."""

    def __init__(self, norm: nn.Module, modulation: nn.Module) -> None:
        super().__init__()
        self.norm, self.modulation = norm, modulation

    def forward(self, input: Tensor, condition: Tensor) -> Tensor:
        """Normalise ``(N, C, ...)`` under ``N`` conditions."""
        modulation = self.modulation(condition)
        gamma, beta = modulation.view(*modulation.shape, *[1] * (input.dim() - 2)).chunk(2, dim=1)
        normalised: Tensor = torch.addcmul(beta, self.norm(input), gamma)
        return normalised


class Generator(nn.Module):
    """Layers from latents to images.

    The class, if any, is what modulates batch norms, or it shifts the latent by its embedding.
    """

    def __init__(self, layers: list[nn.Module], model: ModelConfig, images: ImageSpec) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        modulated = any(isinstance(layer, ModulatedNorm) for layer in layers)
        self.modulated_by_class = model.generator.norm == "batch" and modulated
        self.embedding: nn.Module | None = None
        if model.conditional and not self.modulated_by_class:
            self.embedding = nn.Embedding(images.classes, model.latent_dim)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(N, latent_dim)`` and, if conditional, labels ``(N,)`` to images in [-1, 1]."""
        if self.embedding is not None:
            latents = latents + self.embedding(labels)
        condition = labels if self.modulated_by_class else latents
        values = latents
        for layer in self.layers:
            modulated = isinstance(layer, ModulatedNorm)
            values = layer(values, condition) if modulated else layer(values)
        return values


class Discriminator(nn.Module):
    """Layers from images to features, a linear output, and the class's projection on the features."""

    def __init__(self, layers: list[nn.Module], features: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.output = nn.Linear(features, 1)
        self.embedding: nn.Module | None = None
        if classes:
            self.embedding = nn.Embedding(classes, features)
            nn.init.normal_(self.embedding.weight, 0.0, features**-0.5)  # type: ignore[arg-type]

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(N, C, H, W)`` in [-1, 1] and, if conditional, labels ``(N,)`` to logits ``(N,)``."""
        features = self.layers(images)
        logits: Tensor = self.output(features).flatten()
        if self.embedding is not None:
            logits = logits + (self.embedding(labels) * features).sum(1)
        return logits


def generator_norm(
    model: ModelConfig, images: ImageSpec, features: int, spatial: bool
) -> nn.Module | None:
    """The norm of a generator's hidden layer with so many features, None for none."""
    name = model.generator.norm
    if name == "none":
        return None
    if name == "batch" and not model.conditional:
        return batch_norm(features, spatial)
    modulation: nn.Module
    if name == "batch":
        modulation = nn.Embedding(images.classes, 2 * features)
        last = modulation.weight
    else:
        output = nn.Linear(_SELF_MODULATION_UNITS, 2 * features)
        modulation = nn.Sequential(
            nn.Linear(model.latent_dim, _SELF_MODULATION_UNITS), nn.ReLU(), output
        )
        last = output.bias[None]
    with torch.no_grad():
        nn.init.normal_(last[:, :features], 1.0, 0.02)
        nn.init.zeros_(last[:, features:])
    return ModulatedNorm(batch_norm(features, spatial, affine=False), modulation)


def batch_norm(features: int, spatial: bool, affine: bool = True) -> nn.Module:
    """Torch's batch norm with gamma ~ N(1, 0.02), beta = 0, as DCGAN has it (Radford et al. 2015)."""
    norm = (nn.BatchNorm2d if spatial else nn.BatchNorm1d)(features, affine=affine)
    if affine:
        nn.init.normal_(norm.weight, 1.0, 0.02)
    return norm


def block(
    layer: Callable[[bool], nn.Module],
    norm: nn.Module | None,
    activation: nn.Module,
    config: GeneratorConfig | DiscriminatorConfig,
) -> list[nn.Module]:
    """A hidden layer, its norm in its place, and its activation.

    ``layer`` is told whether to have a bias: in front of a batch norm a bias is cancelled, and its
    gradient would be pure rounding.
    """
    if norm is None:
        return [layer(True), activation]
    if config.norm_place == "before_activation":
        return [layer(False), norm, activation]
    return [layer(True), activation, norm]
