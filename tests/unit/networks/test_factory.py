import copy
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from bngan.data.dataset import ImageSpec
from bngan.networks.blocks import FromMap, SelfAttention, attention
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.networks.factory import build_discriminator, build_generator
from bngan.networks.transformer import PositionalEmbedding

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 29, 43), (1, 4, 4), (3, 9, 150)]
CLASSES = (0.5, 0.25, 0.25)


NETWORKS = ["mlp", "dcgan", "resnet", "transformer"]


@pytest.mark.parametrize("network", NETWORKS)
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


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("norm", ["batch", "self_modulated_batch", "layer", "none"])
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


SPEC = ImageSpec((3, 32, 32), CLASSES)


def test_attention_stands_where_it_is_asked_for_and_nowhere_else() -> None:
    def attended(network: str, part: str, sides: list[int]) -> int:
        parts = {
            "generator": GeneratorConfig(8, attention=sides if part == "generator" else []),
            "discriminator": DiscriminatorConfig(
                8, attention=sides if part == "discriminator" else []
            ),
        }
        config = ModelConfig(network, 5, **parts)
        build = build_generator if part == "generator" else build_discriminator
        return sum(isinstance(m, SelfAttention) for m in build(config, SPEC).modules())

    for network in ("dcgan", "resnet"):
        for part in ("generator", "discriminator"):
            assert attended(network, part, []) == 0
            assert attended(network, part, [16]) == 1
            assert attended(network, part, [4, 16]) == 2
            with pytest.raises(
                ValueError, match=rf"model\.{part}\.attention: not at 5 pixels, there"
            ):
                attended(network, part, [5, 16])
    with pytest.raises(ValueError, match="it has no maps"):
        attended("mlp", "generator", [16])


def test_attention_starts_as_the_identity_and_then_mixes_places() -> None:
    layer, maps = SelfAttention(8).double(), torch.randn(2, 8, 5, 7, dtype=torch.float64)
    assert torch.equal(layer(maps), maps)
    with torch.no_grad():
        layer.gamma.fill_(1.0)
    changed = maps.clone()
    changed[:, :, :2, :2] += 10 * torch.randn(8, 2, 2, dtype=torch.float64)
    assert ((layer(changed) - layer(maps))[:, :, 4, 6].abs().amax(dim=1) > 1e-9).all()
    query, key, value = (torch.randn(2, 3, 6, 4, dtype=torch.float64) for _ in range(3))
    weights = torch.softmax(query @ key.mT / 2, dim=-1)
    torch.testing.assert_close(attention(query, key, value), weights @ value)


@pytest.mark.parametrize("network", ["resnet", "transformer"])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_every_weight_of_a_generator_has_a_gradient_that_is_more_than_rounding(
    network, norm
) -> None:
    torch.manual_seed(0)
    config = ModelConfig(network, 5, generator=GeneratorConfig(8, norm=norm, attention=[]))
    generator = build_generator(config, SPEC).double()
    generator(torch.randn(6, 5, dtype=torch.float64)).square().sum().backward()
    largest = {name: p.grad.abs().max().item() for name, p in generator.named_parameters()}
    assert min(largest.values()) > 1e-7 * max(largest.values()), min(largest, key=largest.get)


def test_a_transformer_sees_places_and_its_patches_can_be_chosen() -> None:
    config = ModelConfig("transformer", 5, discriminator=DiscriminatorConfig(8, 1, patch_size=16))
    places = next(
        m for m in build_discriminator(config, SPEC).modules() if isinstance(m, PositionalEmbedding)
    )
    assert places.vectors.shape == (4, 8)
    discriminator = build_discriminator(config, SPEC)
    images = torch.randn(1, 3, 32, 32)
    assert not torch.allclose(discriminator(images), discriminator(images.flip(3)))


@pytest.mark.parametrize(
    ("name", "sd"),
    [
        ("normal", 0.02),
        ("glorot", (2 / (64 + 256)) ** 0.5),
        ("he", (2 / 64) ** 0.5),
        ("orthogonal", 256**-0.5),
        ("torch", (1 / (3 * 64)) ** 0.5),
    ],
)
def test_initial_weights_are_as_named(name, sd: float) -> None:
    torch.manual_seed(0)
    parts = GeneratorConfig(256, 1, initialization=name), DiscriminatorConfig(4)
    generator = build_generator(ModelConfig("mlp", 64, False, *parts), ImageSpec((1, 8, 8)))
    assert generator.blocks[0].linear.weight.std().item() == pytest.approx(sd, rel=0.05)
    if name == "orthogonal":
        weight = generator.blocks[0].linear.weight
        torch.testing.assert_close(weight.T @ weight, torch.eye(64), atol=1e-4, rtol=0)


def test_the_articles_formula_can_be_built() -> None:
    """G(z) = BN(W2 BN(W1 z)), D(x) = sigmoid(W x + b)."""
    parts = (
        GeneratorConfig(16, 1, activation="none", output_norm=True, output_activation="none"),
        DiscriminatorConfig(depth=0),
    )
    config = ModelConfig("mlp", 5, False, *parts)
    generator = build_generator(config, ImageSpec((1, 4, 4))).double()
    latents = torch.randn(50, 5, dtype=torch.float64)
    (block,), to_image = generator.blocks, generator.to_image
    first, norm, second = block.linear, block.norm, to_image.linear
    expected = to_image.output_norm(norm(latents @ first.weight.T) @ second.weight.T)
    torch.testing.assert_close(generator(latents).flatten(1), expected)
    assert first.bias is None
    assert second.bias is None
    discriminator = build_discriminator(config, ImageSpec((1, 4, 4)))
    assert list(discriminator.state_dict()) == ["logit.weight", "logit.bias"]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_worker_without_samples_can_go_forward_and_back_twice(network) -> None:
    attention = [5] if network in ("dcgan", "resnet") else []
    parts = (
        GeneratorConfig(8, 2, "group", attention=attention),
        DiscriminatorConfig(8, 2, "group", attention=attention),
    )
    config, spec = ModelConfig(network, 5, False, *parts), ImageSpec((3, 9, 9))
    generator, discriminator = build_generator(config, spec), build_discriminator(config, spec)
    discriminator(generator(torch.randn(0, 5))).sum().backward()
    images = torch.randn(0, 3, 9, 9, requires_grad=True)
    logits = discriminator(images)
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    gradient.square().sum().backward()
    assert gradient.shape == images.shape


@pytest.mark.parametrize("network", ["dcgan", "resnet"])
def test_maps_lie_channels_last_and_so_do_their_gradients(network: Any) -> None:
    """Elementwise operations on two tensors that lie differently take thirty times as long."""
    model = ModelConfig(network, 5, False, GeneratorConfig(4), DiscriminatorConfig(4))
    spec = ImageSpec((3, 16, 16))
    maps: list[torch.Tensor] = []

    def keep(module: Any, inputs: Any, out: torch.Tensor) -> None:
        if out.dim() == 4 and out.shape[1] > 1:
            out.register_hook(maps.append)
            maps.append(out)

    networks = [build_generator(model, spec), build_discriminator(model, spec)]
    for each in networks:
        each.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for layer, after in pairwise(leaves(each)):
            if not isinstance(after, FromMap):  # that turns the gradient after others have seen it
                layer.register_forward_hook(keep)
    generator, discriminator = networks
    discriminator(generator(torch.randn(3, 5))).sum().backward()
    assert len(maps) > 12
    # A number that is spread over a map, as the gradient of a sum, fits any.
    dense = [map_ for map_ in maps if 0 not in map_.stride()]
    assert all(map_.is_contiguous(memory_format=torch.channels_last) for map_ in dense)


@pytest.mark.parametrize("network", ["mlp", "dcgan"])
def test_networks_compile_whole(network: Any) -> None:
    torch._dynamo.reset()
    norms = GeneratorConfig(4, norm="self_modulated_batch"), DiscriminatorConfig(4, norm="batch")
    config, spec = ModelConfig(network, 5, True, *norms), ImageSpec((1, 8, 8), CLASSES)
    latents, images, labels = torch.randn(3, 5), torch.randn(3, 1, 8, 8), torch.arange(3)
    for plain, given in (
        (build_generator(config, spec), latents),
        (build_discriminator(config, spec), images),
    ):
        twin = copy.deepcopy(plain)
        compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
        outputs = plain(given, labels), compiled(given, labels)
        assert torch.equal(*outputs)
        for output in outputs:
            output.sum().backward()
        assert all(map(torch.equal, *(gradients(each) for each in (plain, twin))))
        assert all(map(torch.equal, plain.buffers(), twin.buffers()))


def leaves(network: nn.Module) -> list[nn.Module]:
    """Layers that are not made of others, in the order in which they were made."""
    return [module for module in network.modules() if not list(module.children())]


def gradients(network: nn.Module) -> list[Any]:
    return [parameter.grad for parameter in network.parameters()]
