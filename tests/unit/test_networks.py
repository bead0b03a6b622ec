from itertools import pairwise

import pytest
import torch
from torch import nn

from bngan.networks import (
    DiscriminatorConfig,
    GeneratorConfig,
    ModelConfig,
    build_discriminator,
    build_generator,
)

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 29, 43), (1, 4, 4), (3, 9, 150)]


@pytest.mark.parametrize("network", ["mlp", "dcgan"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_networks_fit_the_images(network, shape, norm) -> None:
    config = ModelConfig(
        network, 5, GeneratorConfig(4, norm=norm), DiscriminatorConfig(4, norm=norm)
    )
    generator, discriminator = build_generator(config, shape), build_discriminator(config, shape)
    images = generator(torch.randn(3, 5))
    assert images.shape == (3, *shape)
    assert images.abs().max() <= 1
    assert discriminator(images).shape == (3,)


@pytest.mark.parametrize("network", ["mlp", "dcgan"])
def test_no_bias_in_front_of_a_batch_norm(network) -> None:
    config = ModelConfig(network, 5, GeneratorConfig(4, 2), DiscriminatorConfig(4, 2, norm="batch"))
    for build in (build_generator, build_discriminator):
        modules = [
            m for m in build(config, (1, 16, 16)).modules() if not isinstance(m, nn.Unflatten)
        ]
        norms = 0
        for before, after in pairwise(modules):
            if isinstance(after, nn.BatchNorm1d | nn.BatchNorm2d):
                norms += 1
                assert before.bias is None
        assert norms >= 1


def test_batch_norm_stays_off_the_generators_output_and_the_discriminators_input() -> None:
    config = ModelConfig("dcgan", 5, GeneratorConfig(4), DiscriminatorConfig(4, norm="batch"))
    generator = list(build_generator(config, (1, 32, 32)).children())
    discriminator = list(build_discriminator(config, (1, 32, 32)).children())
    assert isinstance(generator[-1], nn.Tanh)
    assert isinstance(generator[-2], nn.ConvTranspose2d)
    assert isinstance(discriminator[1], nn.LeakyReLU)


def test_depth_is_obeyed() -> None:
    mlp = build_generator(ModelConfig("mlp", 5, GeneratorConfig(4, 3)), (1, 8, 8))
    assert sum(isinstance(m, nn.BatchNorm1d) for m in mlp.modules()) == 3
    dcgan = build_generator(ModelConfig("dcgan", 5, GeneratorConfig(4, 1)), (1, 28, 28))
    assert sum(isinstance(m, nn.ConvTranspose2d) for m in dcgan.modules()) == 1


def test_configuration_survives_json() -> None:
    from dataclasses import asdict

    config = ModelConfig("dcgan", 7, GeneratorConfig(4, 2), DiscriminatorConfig(8, norm="batch"))
    assert ModelConfig.from_dict(asdict(config)) == config
