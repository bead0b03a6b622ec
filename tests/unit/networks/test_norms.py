"""Norms in networks: where they stand, what modulates them, what starts them."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from bngan.data.dataset import ImageSpec
from bngan.networks.blocks import ToMap
from bngan.networks.config import BatchNormConfig, DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.networks.factory import build_discriminator, build_generator
from bngan.networks.norms import ConditionalBatchNorm

SPEC = ImageSpec((3, 32, 32), (0.5, 0.25, 0.25))


def test_self_modulation_starts_as_a_plain_batch_norm_would() -> None:
    torch.manual_seed(0)
    config = ModelConfig("mlp", 5, False, GeneratorConfig(400, 1, "self_modulated_batch"))
    norm = build_generator(config, ImageSpec((1, 4, 4))).blocks[0].norm
    gamma, beta = norm.modulation.of_latent[-1].bias.chunk(2)
    assert gamma.mean().item() == pytest.approx(1, abs=0.005)
    assert gamma.std().item() == pytest.approx(0.02, rel=0.2)
    assert (beta == 0).all()


def test_a_mapping_network_without_a_norm_to_modulate_is_refused() -> None:
    config = ModelConfig("mlp", 5, False, GeneratorConfig(8, 0, "self_modulated_batch", mapping=1))
    with pytest.raises(ValueError, match=r"generator\.mapping has no layer to modulate"):
        build_generator(config, ImageSpec((1, 4, 4)))


def test_a_mapping_network_is_what_modulates_norms_and_nothing_else() -> None:
    torch.manual_seed(0)
    config = ModelConfig("mlp", 5, False, GeneratorConfig(8, 1, "self_modulated_batch", mapping=2))
    generator = build_generator(config, ImageSpec((1, 4, 4))).eval()
    latents = torch.randn(6, 5)
    nn.init.normal_(generator.blocks[0].norm.modulation.of_latent[-1].weight)
    before = generator(latents)
    handle = generator.mapping.register_forward_hook(lambda module, args, out: latents.flip(0))
    assert not torch.allclose(generator(latents), before)
    handle.remove()
    nn.init.zeros_(generator.blocks[0].norm.modulation.of_latent[-1].weight)
    constant = generator(latents)
    generator.mapping.register_forward_hook(lambda module, args, out: latents.flip(0))
    torch.testing.assert_close(generator(latents), constant)
    config.generator.norm = "batch"
    with pytest.raises(ValueError, match=r"mapping needs model\.generator\.norm=self_modulated"):
        build_generator(config, ImageSpec((1, 4, 4)))


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
            for m in build(config, ImageSpec((1, 16, 16))).modules()
            if not list(m.children()) and not isinstance(m, ToMap)
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
    to_image = list(build_generator(config, ImageSpec((1, 32, 32))).to_image.children())
    first = list(build_discriminator(config, ImageSpec((1, 32, 32))).blocks[0].children())
    assert isinstance(to_image[-1], nn.Tanh)
    assert isinstance(to_image[-2], nn.ConvTranspose2d)
    assert isinstance(first[1], nn.LeakyReLU)


def test_batch_norms_constants_are_the_configured_ones() -> None:
    numbers = BatchNormConfig(eps=1e-3, momentum=0.01, gamma_sd=0)
    config = ModelConfig("dcgan", 5, batch_norm=numbers)
    norms = [m for m in build_generator(config, SPEC).modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    for norm in norms:
        assert (norm.eps, norm.momentum) == (1e-3, 0.01)
        assert (norm.weight == 1).all()


@pytest.mark.parametrize("kind", ["spectral", "weight"])
def test_weight_norms_leave_modulation_alone(kind) -> None:
    torch.manual_seed(0)
    parts = GeneratorConfig(16, weight_norm=kind), DiscriminatorConfig(16, weight_norm=kind)
    config = ModelConfig("dcgan", 5, True, *parts)
    generator, discriminator = build_generator(config, SPEC), build_discriminator(config, SPEC)
    for network in (generator, discriminator):
        for module in network.modules():
            if isinstance(module, ConditionalBatchNorm):
                assert not parametrize.is_parametrized(module.modulation)
            elif isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                assert parametrize.is_parametrized(module)
    if kind == "spectral":
        for _ in range(50):
            weight = discriminator.logit.weight
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=1e-3)
