"""Layers that network families share: named blocks, self-attention, changes of shape."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bngan.data.dataset import ImageShape
from bngan.networks.config import Activation, GeneratorConfig, ModelConfig, NetworkConfig
from bngan.networks.norms import Condition, Conditioned, apply, batch_norm
from bngan.serialization.problem import ConfigurationError, Problem

Size = tuple[int, int]
_MOST_WIDTHS = 8
_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "none": nn.Identity,
}


class Block(Conditioned):
    """Apply named layers one after the other; layers that take a condition get it.

    A layer that is None is left out; the other layers keep their names.
    """

    def __init__(self, **layers: nn.Module | None) -> None:
        super().__init__()
        for name, layer in layers.items():
            if layer is not None:
                self.add_module(name, layer)

    def forward(self, values: Tensor, condition: Condition | None = None) -> Tensor:
        """Return the output of the last layer."""
        for layer in self._modules.values():
            values = apply(layer, values, condition)  # type: ignore[arg-type]
        return values


class ToMap(nn.Module):
    """Reshape ``(N, C * H * W)`` to ``(N, C, H, W)``, channels last in memory, for speed."""

    def __init__(self, shape: ImageShape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, values: Tensor) -> Tensor:
        """Return a copy with the same values."""
        maps = values.view(len(values), *self.shape)
        return maps.contiguous(memory_format=torch.channels_last)


class FromMap(nn.Module):
    """Flatten ``(N, C, H, W)`` to ``(N, C * H * W)``.

    Gradients come back in the map's memory layout. Elementwise operations on two tensors of
    different layouts take many times as long.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return the same values; channels that are last in memory cost a copy."""
        if maps.requires_grad:
            maps.register_hook(_channels_last)  # type: ignore[no-untyped-call]
        return maps.flatten(1)


def _channels_last(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)


class SelfAttention(nn.Module):
    """Add gamma, at first 0, times self-attention to maps ``(N, C, H, W)`` (Zhang et al. 2019)."""

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
        """Map ``(N, C, H, W)`` to the same shape.

        Keys and values come from maps pooled by 2, like those of BigGAN (Brock et al. 2019).
        """
        query, key, value = self.query(maps), self.pool(self.key(maps)), self.pool(self.value(maps))
        seen = attention(*(part.flatten(2).mT for part in (query, key, value)))
        seen = self.output(seen.mT.reshape(*seen.mT.shape[:2], *maps.shape[2:]))
        return torch.addcmul(maps, self.gamma, seen)


class AveragePool(nn.Module):
    """Average 2x2 pixels; at the edge of an odd size, those pixels of the window that exist.

    ``nn.AvgPool2d(2, ceil_mode=True)`` does the same, but torch 2.14 compiles a wrong gradient of it.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``(N, C, H', W')`` of ``(N, C, H, W)``: half of each size, rounded up."""
        for dim, size in ((2, maps.shape[2]), (3, maps.shape[3])):
            if size % 2:  # twice the last line is its average
                maps = torch.cat([maps, maps.narrow(dim, size - 1, 1)], dim)
        return F.avg_pool2d(maps, 2)


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return softmax attention over ``(..., T, C)``, in a form that can be differentiated twice."""
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(query, key, value)


def activation(config: NetworkConfig) -> nn.Module:
    """Return the activation of hidden layers."""
    return _ACTIVATIONS[config.activation]()


def needs_bias(norm: nn.Module | None, config: NetworkConfig) -> bool:
    """Return whether a layer before ``norm`` needs a bias.

    A norm right after the layer cancels or replaces a bias, whose gradient would be pure rounding.
    """
    return norm is None or config.norm_place == "after_activation"


def normalized_activation(
    norm: nn.Module | None, config: NetworkConfig, number: str = ""
) -> dict[str, nn.Module | None]:
    """Return a ``Block``'s layers ``norm`` and ``activation``, in the configured order.

    ``number`` is appended to both names, for a block that has several.
    """
    pair = {f"norm{number}": norm, f"activation{number}": activation(config)}
    return pair if config.norm_place == "before_activation" else dict(reversed(pair.items()))


def output_layers(features: int, spatial: bool, model: ModelConfig) -> dict[str, nn.Module | None]:
    """Return the layers of a ``Block`` that follow a generator's last linear map or convolution."""
    config = model.generator
    norm = batch_norm(features, spatial, model.batch_norm) if config.output_norm else None
    tanh = nn.Tanh() if config.output_activation == "tanh" else None
    return {"output_norm": norm, "output_activation": tanh}


def convolution(before: int, after: int, bias: bool) -> nn.Module:
    """Return a 3x3 convolution that keeps the size."""
    return nn.Conv2d(before, after, 3, padding=1, bias=bias)


def resolutions(height: int, width: int, depth: int | None) -> list[Size]:
    """Return map sizes from the image down; each is half of the one before, rounded up.

    Without ``depth`` (the number of halvings) they end where the longer side has 5 pixels or less,
    after at least one: maps of a 96x64 image end at 3x2.
    """
    sizes = [(height, width)]
    while (max(sizes[-1]) > 5 or len(sizes) == 1) if depth is None else (len(sizes) <= depth):
        sizes.append((math.ceil(sizes[-1][0] / 2), math.ceil(sizes[-1][1] / 2)))
    return sizes


def widths(config: NetworkConfig, maps: int) -> list[int]:
    """Return the channels of ``maps`` maps, largest first: doubling, up to 8 times the width."""
    return [config.width * min(2**index, _MOST_WIDTHS) for index in range(maps)]


def attended(channels: int, size: Size, config: NetworkConfig) -> nn.Module | None:
    """Return self-attention if the configuration names the map's longer side, else None."""
    return SelfAttention(channels) if max(size) in config.attention else None


def check_attention(config: NetworkConfig, sizes: list[Size]) -> None:
    """Raise ``ConfigurationError`` if attention is configured for a size that no map has."""
    sides = {max(size): size for size in sizes}
    if wrong := sorted(set(config.attention) - set(sides)):
        names = (f"{side}" if h == w else f"{side} ({h}x{w})" for side, (h, w) in sides.items())
        there = f"there are maps of {', '.join(names)}" if sides else "it has no maps"
        raise setting_error(config, "attention", f"not at {wrong[0]} pixels, {there}")


def setting_error(config: NetworkConfig, name: str, reason: str) -> ConfigurationError:
    """Return the error of the setting ``name`` of a network, with its full key."""
    part = "generator" if isinstance(config, GeneratorConfig) else "discriminator"
    key = f"model.{part}.{name}"
    return ConfigurationError(Problem(key, f"{key}: {reason}"))
