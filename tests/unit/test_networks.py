from dataclasses import asdict
from itertools import pairwise

import pytest
import torch
from torch import nn

from bngan.networks import (
    DiscriminatorConfig,
    GeneratorConfig,
    ImageSpec,
    ModelConfig,
    build_discriminator,
    build_generator,
)

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 29, 43), (1, 4, 4), (3, 9, 150)]
CLASSES = (0.5, 0.25, 0.25)


@pytest.mark.parametrize("network", ["mlp", "dcgan"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_networks_fit_the_images(network, shape, norm) -> None:
    config = ModelConfig(
        network, 5, False, GeneratorConfig(4, norm=norm), DiscriminatorConfig(4, norm=norm)
    )
    spec = ImageSpec(shape)
    generator, discriminator = build_generator(config, spec), build_discriminator(config, spec)
    images = generator(torch.randn(3, 5))
    assert images.shape == (3, *shape)
    assert images.abs().max() <= 1
    assert discriminator(images).shape == (3,)


@pytest.mark.parametrize("network", ["mlp", "dcgan"])
@pytest.mark.parametrize("norm", ["batch", "self_modulated_batch", "none"])
@pytest.mark.parametrize("spectral", [False, True])
def test_conditional_networks_listen_to_the_class(network, norm, spectral) -> None:
    config = ModelConfig(
        network,
        5,
        True,
        GeneratorConfig(4, 2, norm),
        DiscriminatorConfig(4, weight_norm="spectral" if spectral else "none"),
    )
    spec = ImageSpec((1, 12, 12), CLASSES)
    generator, discriminator = build_generator(config, spec), build_discriminator(config, spec)
    latents = torch.randn(3, 5)
    zero, two = torch.zeros(3, dtype=torch.int64), torch.full((3,), 2)
    one_class, other = generator(latents, zero), generator(latents, two)
    assert one_class.shape == (3, 1, 12, 12)
    assert (one_class - other).abs().max() > 1e-4
    discriminator.eval()
    assert not torch.allclose(discriminator(one_class, zero), discriminator(one_class, two))


def test_without_hidden_layers_the_class_still_counts() -> None:
    config = ModelConfig("mlp", 5, True, GeneratorConfig(4, 0))
    generator = build_generator(config, ImageSpec((1, 4, 4), CLASSES))
    latents = torch.randn(2, 5)
    labels = torch.zeros(2, dtype=torch.int64)
    assert not torch.allclose(generator(latents, labels), generator(latents, labels + 1))


def test_a_conditional_model_needs_labels() -> None:
    for build in (build_generator, build_discriminator):
        with pytest.raises(ValueError, match=r"model\.conditional needs"):
            build(ModelConfig(conditional=True), ImageSpec((1, 8, 8)))


def test_self_modulation_starts_as_a_plain_batch_norm_would() -> None:
    torch.manual_seed(0)
    config = ModelConfig("mlp", 5, False, GeneratorConfig(400, 1, "self_modulated_batch"))
    norm = build_generator(config, ImageSpec((1, 4, 4))).layers[1]
    gamma, beta = norm.modulation[-1].bias.chunk(2)
    assert gamma.mean().item() == pytest.approx(1, abs=0.005)
    assert gamma.std().item() == pytest.approx(0.02, rel=0.2)
    assert (beta == 0).all()


@pytest.mark.parametrize("network", ["mlp", "dcgan"])
@pytest.mark.parametrize("place", ["before_activation", "after_activation"])
def test_a_bias_unless_a_batch_norm_would_cancel_it(network, place) -> None:
    config = ModelConfig(
        network,
        5,
        False,
        GeneratorConfig(4, 2, norm_place=place),
        DiscriminatorConfig(4, 2, norm="batch", norm_place=place),
    )
    for build in (build_generator, build_discriminator):
        layers = [
            m
            for m in build(config, ImageSpec((1, 16, 16))).layers
            if not isinstance(m, nn.Unflatten)
        ]
        norms = 0
        for index, (before, after) in enumerate(pairwise(layers)):
            if isinstance(after, nn.BatchNorm1d | nn.BatchNorm2d):
                norms += 1
                if place == "before_activation":
                    assert before.bias is None
                else:
                    assert isinstance(before, nn.ReLU | nn.LeakyReLU)
                    assert layers[index - 1].bias is not None
        assert norms >= 1


def test_batch_norm_stays_off_the_generators_output_and_the_discriminators_input() -> None:
    config = ModelConfig(
        "dcgan", 5, False, GeneratorConfig(4), DiscriminatorConfig(4, norm="batch")
    )
    generator = build_generator(config, ImageSpec((1, 32, 32))).layers
    discriminator = build_discriminator(config, ImageSpec((1, 32, 32))).layers
    assert isinstance(generator[-1], nn.Tanh)
    assert isinstance(generator[-2], nn.ConvTranspose2d)
    assert isinstance(discriminator[1], nn.LeakyReLU)


def test_depth_is_obeyed() -> None:
    mlp = build_generator(ModelConfig("mlp", 5, False, GeneratorConfig(4, 3)), ImageSpec((1, 8, 8)))
    assert sum(isinstance(m, nn.BatchNorm1d) for m in mlp.modules()) == 3
    config = ModelConfig("dcgan", 5, False, GeneratorConfig(4, 1))
    dcgan = build_generator(config, ImageSpec((1, 28, 28)))
    assert sum(isinstance(m, nn.ConvTranspose2d) for m in dcgan.modules()) == 1


def test_configuration_survives_json() -> None:
    config = ModelConfig(
        "dcgan", 7, True, GeneratorConfig(4, 2), DiscriminatorConfig(8, norm="batch")
    )
    assert ModelConfig.from_dict(asdict(config)) == config
