"""Initial weights by name."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from bngan.networks.config import Initialization, ModelConfig, NetworkConfig
from bngan.networks.norms import ModulatedNorm

_DRAWS: dict[Initialization, Callable[[Any], Any]] = {
    "glorot": nn.init.xavier_uniform_,
    "he": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "normal": lambda weight: nn.init.normal_(weight, 0.0, 0.02),
    "orthogonal": nn.init.orthogonal_,
}


def initialize(network: nn.Module, model: ModelConfig, config: NetworkConfig) -> None:
    """Draw the weights of linear and convolutional layers as configured; their biases are 0 then.

    Norms, what modulates them, and embeddings keep what they were made with.
    """
    draw = _DRAWS.get(_chosen(model, config))
    for layer in weighted_layers(network):
        if draw is not None and not isinstance(layer, nn.Embedding):
            draw(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def _chosen(model: ModelConfig, config: NetworkConfig) -> Initialization:
    if config.initialization != "auto":
        return config.initialization
    # Without a norm, weights as small as DCGAN's shrink the signal from layer to layer.
    dcgan: Initialization = "torch" if config.norm == "none" else "normal"
    auto: dict[str, Initialization] = {
        "dcgan": dcgan,
        "resnet": "orthogonal",
        "transformer": "normal",
    }
    return auto.get(model.network, "torch")


def weighted_layers(module: nn.Module) -> Iterator[nn.Module]:
    """Linear and convolutional layers and embeddings, except what modulates a norm."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
        yield module
    if not isinstance(module, ModulatedNorm):
        for child in module.children():
            yield from weighted_layers(child)
