"""What the network families share: the frames around lists of layers, hidden layers, attention."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bngan.data.dataset import ImageShape, ImageSpec
from bngan.networks.config import (
    Activation,
    GeneratorConfig,
    ModelConfig,
    NetworkConfig,
)
from bngan.networks.norms import Condition, ConditionalBatchNorm, apply, batch_norm

Size = tuple[int, int]
_MOST_WIDTHS = 8
_MAPPING_UNITS = 128
_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "none": nn.Identity,
}


class Generator(nn.Module):
    """Layers from latents to images.

    The class, if any, modulates batch norms; without one, its embedding shifts the latent.
    """

    def __init__(self, layers: list[nn.Module], model: ModelConfig, images: ImageSpec) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        modulated = any(isinstance(module, ConditionalBatchNorm) for module in self.modules())
        self.mapping = _mapping(model, modulated)
        self.embedding: nn.Module | None = None
        if model.conditional and not modulated:
            self.embedding = nn.Embedding(images.classes, model.latent_dim)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(N, latent_dim)`` and, if conditional, labels ``(N,)`` to images in [-1, 1]."""
        if self.embedding is not None:
            latents = latents + self.embedding(labels)
        condition = Condition(self.mapping(latents), labels)
        values = latents
        for layer in self.layers:
            values = apply(layer, values, condition)
        return values


def _mapping(model: ModelConfig, modulated: bool) -> nn.Module:
    """From ``(N, latent_dim)`` to the same, in another distribution: not one ball but many."""
    if model.generator.mapping and model.generator.norm != "self_modulated_batch":
        raise ValueError("model.generator.mapping needs model.generator.norm=self_modulated_batch")
    if model.generator.mapping and not modulated:
        raise ValueError("model.generator.mapping has no layer to modulate")
    layers, before = list[nn.Module](), model.latent_dim
    for _ in range(model.generator.mapping):
        linear = nn.Linear(before, _MAPPING_UNITS, bias=False)
        layers += [linear, batch_norm(_MAPPING_UNITS, False, model.batch_norm), nn.ReLU()]
        before = _MAPPING_UNITS
    if layers:
        last = nn.Linear(before, model.latent_dim, bias=False)
        layers += [last, batch_norm(model.latent_dim, False, model.batch_norm)]
    return nn.Sequential(*layers)


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
        # Logits are differences of large numbers: never in half precision.
        with torch.autocast(images.device.type, enabled=False):
            features = features.to(self.output.weight.dtype)
            logits: Tensor = self.output(features).flatten()
            if self.embedding is not None:
                logits = logits + (self.embedding(labels) * features).sum(1)
        return logits


class ToMap(nn.Module):
    """``(N, C * H * W)`` to ``(N, C, H, W)``, channels last in memory: what follows is faster."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, values: Tensor) -> Tensor:
        """The same values, copied."""
        maps = values.view(len(values), *self.shape)
        return maps.contiguous(memory_format=torch.channels_last)


class FromMap(nn.Module):
    """``(N, C, H, W)`` to ``(N, C * H * W)``, and gradients back as the map lies in memory.

    Elementwise operations on two tensors that lie differently take many times as long.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """The same values, copied if channels were last."""
        if maps.requires_grad:
            maps.register_hook(_channels_last)  # type: ignore[no-untyped-call]
        return maps.flatten(1)


def _channels_last(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)


class SelfAttention(nn.Module):
    """``(N, C, H, W)`` plus gamma, at first 0, times what other places say (Zhang et al. 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = max(1, channels // 8)
        self.query = nn.Conv2d(channels, self.inner, 1, bias=False)
        self.key = nn.Conv2d(channels, self.inner, 1, bias=False)
        self.value = nn.Conv2d(channels, max(1, channels // 2), 1, bias=False)
        self.output = nn.Conv2d(max(1, channels // 2), channels, 1, bias=False)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        """Keys and values are taken from every second place, as BigGAN (Brock et al. 2019) does."""
        query, key, value = self.query(maps), self.pool(self.key(maps)), self.pool(self.value(maps))
        seen = attention(*(part.flatten(2).mT for part in (query, key, value)))
        seen = self.output(seen.mT.reshape(*seen.mT.shape[:2], *maps.shape[2:]))
        return torch.addcmul(maps, self.gamma, seen)


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax attention over ``(..., T, C)``, in the form that can be differentiated twice."""
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(query, key, value)


def activation(config: NetworkConfig) -> nn.Module:
    """The activation of hidden layers."""
    return _ACTIVATIONS[config.activation]()


def needs_bias(norm: nn.Module | None, config: NetworkConfig) -> bool:
    """Whether a layer before ``norm`` has one: a norm right after it would cancel it, or replace it.

    Its gradient would then be pure rounding.
    """
    return norm is None or config.norm_place == "after_activation"


def block(
    layer: Callable[[bool], nn.Module], norm: nn.Module | None, config: NetworkConfig
) -> list[nn.Module]:
    """A hidden layer, made with a bias or without one, its norm in its place, and its activation."""
    return [layer(needs_bias(norm, config)), *normalised_activation(norm, config)]


def normalised_activation(norm: nn.Module | None, config: NetworkConfig) -> list[nn.Module]:
    """Activation with its norm before or after it."""
    if norm is None:
        return [activation(config)]
    pair = [norm, activation(config)]
    return pair if config.norm_place == "before_activation" else pair[::-1]


def output(
    layer: Callable[[bool], nn.Module], features: int, spatial: bool, model: ModelConfig
) -> list[nn.Module]:
    """A generator's last layer, and what follows it."""
    config, layers = model.generator, [layer(not model.generator.output_norm)]
    if config.output_norm:
        layers.append(batch_norm(features, spatial, model.batch_norm))
    return [*layers, nn.Tanh()] if config.output_activation == "tanh" else layers


def convolution(before: int, after: int, bias: bool) -> nn.Module:
    """A 3x3 convolution that keeps the size."""
    return nn.Conv2d(before, after, 3, padding=1, bias=bias)


def resolutions(height: int, width: int, depth: int | None) -> list[Size]:
    """Map sizes from the image down: halved, rounding up, ``depth`` times or, once at least, to 3-5."""
    sizes = [(height, width)]
    while (max(sizes[-1]) > 5 or len(sizes) == 1) if depth is None else (len(sizes) <= depth):
        sizes.append((math.ceil(sizes[-1][0] / 2), math.ceil(sizes[-1][1] / 2)))
    return sizes


def widths(config: NetworkConfig, maps: int) -> list[int]:
    """Channels of so many maps, from the largest down: doubling, up to 8 times the width."""
    return [config.width * min(2**index, _MOST_WIDTHS) for index in range(maps)]


def attended(channels: int, size: Size, config: NetworkConfig) -> list[nn.Module]:
    """Self-attention if maps of this size are to have it."""
    return [SelfAttention(channels)] if max(size) in config.attention else []


def check_attention(config: NetworkConfig, sizes: list[Size]) -> None:
    """Raise ``ValueError`` if attention is asked for where no map is."""
    sides = [max(size) for size in sizes]
    if wrong := sorted(set(config.attention) - set(sides)):
        there = f"there are maps of {', '.join(map(str, sides))}" if sides else "it has no maps"
        raise ValueError(f"{named(config, 'attention')}: not at {wrong[0]} pixels, {there}")


def named(config: NetworkConfig, key: str) -> str:
    """The whole key of a network's setting."""
    part = "generator" if isinstance(config, GeneratorConfig) else "discriminator"
    return f"model.{part}.{key}"
