"""Initial weights by name."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from bngan.networks.config import Initialization, ModelConfig, NetworkConfig
from bngan.networks.norms import ConditionalBatchNorm


def _he(layer: Any) -> None:
    """Draw N(0, 2 / fan_in); a transposed convolution's fan_in counts the channels of its input."""
    fan_in = layer.weight[0].numel()
    if isinstance(layer, nn.ConvTranspose2d):
        fan_in = layer.weight[:, 0].numel() / math.prod(layer.stride)
    nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / fan_in))


@torch.no_grad()
def _orthogonal(layer: Any) -> None:
    """Draw in float64: the rounding of a float32 decomposition depends on the processor."""
    layer.weight.copy_(nn.init.orthogonal_(layer.weight.double()))


_DRAWS: dict[Initialization, Callable[[Any], Any]] = {
    "glorot": lambda layer: nn.init.xavier_uniform_(layer.weight),
    "he": _he,
    "normal": lambda layer: nn.init.normal_(layer.weight, 0.0, 0.02),
    "orthogonal": _orthogonal,
}
_AUTO: dict[str, Initialization] = {
    "dcgan": "normal",
    "resnet": "orthogonal",
    "transformer": "glorot",
}


def initialize(network: nn.Module, model: ModelConfig, config: NetworkConfig) -> None:
    """Draw weights of linear and convolutional layers as configured, and set their biases to 0.

    Norms, the layers that modulate them, and embeddings keep their first values.
    """
    name = config.initialization
    if name == "auto":
        name = _AUTO.get(model.network, "torch")
        # Without a norm, weights as small as DCGAN's shrink the signal from layer to layer.
        name = "torch" if name == "normal" and config.norm == "none" else name
    draw = _DRAWS.get(name)
    for layer in weighted_layers(network):
        if draw is not None and not isinstance(layer, nn.Embedding):
            draw(layer)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def weighted_layers(module: nn.Module) -> Iterator[nn.Module]:
    """Yield linear and convolutional layers and embeddings, except those that modulate a norm."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
        yield module
    if not isinstance(module, ConditionalBatchNorm):
        for child in module.children():
            yield from weighted_layers(child)
