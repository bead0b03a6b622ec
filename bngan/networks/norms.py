"""Normalisation layers, chosen by name."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bngan.data.dataset import ImageSpec
from bngan.networks.config import BatchNormConfig, ModelConfig, Normalization
from bngan.numerics.torch_internals import NormBase

_SELF_MODULATION_UNITS = 32
_GROUP = 16
"""Minimum number of channels in a group."""


class Condition(NamedTuple):
    """Inputs that may modulate a generator's layers, one row per sample."""

    latents: Tensor
    labels: Tensor | None


class Conditioned(nn.Module):
    """Base class of layers whose forward takes a ``Condition`` besides its input."""


def apply(layer: nn.Module, values: Tensor, condition: Condition | None) -> Tensor:
    """Return ``layer(values)``, with the condition if the layer takes one."""
    result: Tensor = layer(values, condition) if isinstance(layer, Conditioned) else layer(values)
    return result


class Modulation(nn.Module):
    """Compute gamma and beta of each sample from its latent, its class, or both (their sum)."""

    def __init__(
        self, features: int, latent_dim: int, classes: int, numbers: BatchNormConfig
    ) -> None:
        super().__init__()
        self.of_latent: nn.Module | None = None
        self.of_class: nn.Module | None = None
        if latent_dim:
            hidden = nn.Linear(latent_dim, _SELF_MODULATION_UNITS)
            output = nn.Linear(_SELF_MODULATION_UNITS, 2 * features)
            layers = {"hidden": hidden, "activation": nn.ReLU(), "output": output}
            self.of_latent = nn.Sequential(OrderedDict[str, nn.Module](layers))
            start = nn.init.zeros_(output.bias)
        if classes:
            self.of_class = nn.Embedding(classes, 2 * features)
            start = self.of_class.weight
        # The first gamma and beta are those of an unconditional batch norm.
        nn.init.normal_(start[..., :features], 1.0, numbers.gamma_sd)
        nn.init.zeros_(start[..., features:])

    def forward(self, condition: Condition) -> Tensor:
        """Return gamma and beta, ``(N, 2 * features)``."""
        parts = []
        if self.of_latent is not None:
            parts.append(self.of_latent(condition.latents))
        if self.of_class is not None:
            parts.append(self.of_class(condition.labels))
        total: Tensor = sum(parts[1:], parts[0])
        return total


class ConditionalBatchNorm(Conditioned):
    """Batch norm whose gamma and beta are functions of a condition, one pair per sample."""

    def __init__(self, norm: nn.Module, modulation: Modulation) -> None:
        super().__init__()
        self.norm, self.modulation = norm, modulation

    def forward(self, input: Tensor, condition: Condition) -> Tensor:
        """Normalise ``(N, C, ...)`` under ``N`` conditions."""
        modulation = self.modulation(condition)
        gamma, beta = modulation.view(*modulation.shape, *[1] * (input.dim() - 2)).chunk(2, dim=1)
        normalised: Tensor = torch.addcmul(beta, self.norm(input), gamma)
        return normalised


class TokenNorm(Conditioned):
    """Apply a norm over channels to tokens ``(N, T, C)``."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, input: Tensor, condition: Condition | None = None) -> Tensor:
        """Normalise ``(N, T, C)``."""
        return apply(self.norm, input.mT, condition).mT


def generator_norm(
    model: ModelConfig, images: ImageSpec, features: int, spatial: bool
) -> nn.Module | None:
    """Return the norm of a generator's hidden layer with ``features`` features; None for none.

    The input is ``(N, C, H, W)`` if spatial, else ``(N, C)`` or ``(N, C, T)``.
    """
    name, numbers = model.generator.norm, model.batch_norm
    classes = images.classes if model.conditional else 0
    latent_dim = model.latent_dim if name == "self_modulated_batch" else 0
    if not latent_dim and not (name == "batch" and classes):
        return norm(name, features, spatial, numbers)
    modulation = Modulation(features, latent_dim, classes, numbers)
    return ConditionalBatchNorm(batch_norm(features, spatial, numbers, affine=False), modulation)


def norm(
    name: Normalization, features: int, spatial: bool, numbers: BatchNormConfig
) -> nn.Module | None:
    """Return norm ``name`` for ``(N, C, ...)``; None for none, batch norm for self-modulated."""
    groups = {"layer": 1, "group": max(1, features // _GROUP), "instance": features}
    if name == "none":
        return None
    if name not in groups:
        return batch_norm(features, spatial, numbers)
    return nn.GroupNorm(largest_divisor(features, groups[name]), features)


def batch_norm(
    features: int, spatial: bool, numbers: BatchNormConfig, affine: bool = True
) -> nn.Module:
    """Return torch's batch norm, with gamma ~ N(1, gamma_sd^2) and beta = 0."""
    kind = nn.BatchNorm2d if spatial else nn.BatchNorm1d
    layer = kind(features, numbers.eps, numbers.momentum, affine=affine)
    if affine:
        nn.init.normal_(layer.weight, 1.0, numbers.gamma_sd)
    return layer


def token_norm(norm: nn.Module | None, features: int) -> nn.Module:
    """Return ``norm`` for tokens ``(N, T, C)``; layer norm then takes each token by itself."""
    if isinstance(norm, nn.GroupNorm) and norm.num_groups == 1:
        return nn.LayerNorm(features, norm.eps)
    return TokenNorm(norm) if norm else nn.Identity()


def parametrized(network: nn.Module) -> list[nn.Module]:
    """Return the layers that compute their weight from others, by weight norm or spectral norm."""
    return [layer for layer in network.modules() if parametrize.is_parametrized(layer)]


@torch.no_grad()
def iterate_spectral_norms(layers: Iterable[nn.Module]) -> None:
    """Run one power iteration on each weight with spectral norm; forward passes then run none.

    Args:
        layers: result of ``parametrized``, found once: the search takes some per cent of a small
            step.
    """
    for layer in layers:
        parametrizations = cast(nn.Module, layer.parametrizations)
        parametrizations.train()
        _ = layer.weight
        parametrizations.eval()


def largest_divisor(number: int, wanted: int) -> int:
    """Return the largest divisor of ``number`` that is at most ``wanted``."""
    return next(n for n in range(wanted, 0, -1) if number % n == 0)


def affine_parameters(network: nn.Module) -> Iterator[nn.Parameter]:
    """Yield gamma and beta of every norm, or the parameters that compute them."""
    for module in network.modules():
        if isinstance(module, ConditionalBatchNorm):
            yield from module.modulation.parameters()
        elif isinstance(module, NormBase | nn.GroupNorm | nn.LayerNorm):
            yield from module.parameters(recurse=False)
