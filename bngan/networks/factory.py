"""Build a generator or a discriminator from its configuration."""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn
from torch.nn.utils import parametrizations

from bngan.data.dataset import ImageSpec
from bngan.networks.base import Discriminator, Generator
from bngan.networks.config import ModelConfig, NetworkConfig
from bngan.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from bngan.networks.initialization import initialize, weighted_layers
from bngan.networks.mlp import MLPDiscriminator, MLPGenerator
from bngan.networks.resnet import ResNetDiscriminator, ResNetGenerator
from bngan.networks.transformer import TransformerDiscriminator, TransformerGenerator
from bngan.serialization.problem import ConfigurationError, Problem


class Family(NamedTuple):
    """Generator and discriminator classes of a family, made with a configuration and images.

    Each class is a subclass of ``base.Generator`` or ``base.Discriminator``. Its ``__init__`` makes
    named layers, and its ``synthesize`` or ``extract`` applies them. This module adds class labels,
    the mapping network, the logit, initial weights and weight norms, alike for all families.
    """

    generator: Callable[[ModelConfig, ImageSpec], Generator]
    discriminator: Callable[[ModelConfig, ImageSpec], Discriminator]


_FAMILIES = {
    "mlp": Family(MLPGenerator, MLPDiscriminator),
    "dcgan": Family(DCGANGenerator, DCGANDiscriminator),
    "resnet": Family(ResNetGenerator, ResNetDiscriminator),
    "transformer": Family(TransformerGenerator, TransformerDiscriminator),
}


def build_generator(model: ModelConfig, images: ImageSpec) -> Generator:
    """Return a generator of ``images``, initialised from torch's random state.

    Raises:
        ConfigurationError: if the images or the family do not allow a setting.
    """
    _check_classes(model, images)
    network = _FAMILIES[model.network].generator(model, images)
    network.add_conditioning(model, images)
    _finish(network, model, model.generator)
    return network


def build_discriminator(model: ModelConfig, images: ImageSpec) -> Discriminator:
    """Return a discriminator of ``images``, initialised from torch's random state.

    Raises:
        ConfigurationError: if the images or the family do not allow a setting.
    """
    _check_classes(model, images)
    network = _FAMILIES[model.network].discriminator(model, images)
    network.add_logit(images.classes if model.conditional else 0)
    _finish(network, model, model.discriminator)
    return network


def _finish(network: nn.Module, model: ModelConfig, config: NetworkConfig) -> None:
    initialize(network, model, config)
    for layer in list(weighted_layers(network)):
        # A generator's class embedding is an input, not a layer.
        if isinstance(layer, nn.Embedding) and config is model.generator:
            continue
        if config.weight_norm == "spectral":
            # Run the first power iterations in float64: no float32 weight keeps its rounding.
            parametrizations.spectral_norm(layer.double())
            layer.float()
        elif config.weight_norm == "weight":
            parametrizations.weight_norm(layer, dim=int(isinstance(layer, nn.ConvTranspose2d)))


def _check_classes(model: ModelConfig, images: ImageSpec) -> None:
    if model.conditional and not images.classes:
        message = "model.conditional needs images with labels, and these have none"
        raise ConfigurationError(Problem("model.conditional", message))
