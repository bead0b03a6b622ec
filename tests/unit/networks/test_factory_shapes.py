"""Networks for images that are not square: the same as for the transposed images, transposed."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bngan.batchnorm.calibration import execution_order
from bngan.data.dataset import ImageSpec
from bngan.networks.blocks import SelfAttention, resolutions
from bngan.networks.config import DiscriminatorConfig, GeneratorConfig, ModelConfig
from bngan.networks.factory import build_discriminator, build_generator

SIZES = [(24, 40), (96, 64), (7, 13), (13, 7), (4, 64), (31, 5)]
NETWORKS: list[Any] = ["mlp", "dcgan", "resnet", "transformer"]
MAPS = {
    (24, 40): [(24, 40), (12, 20), (6, 10), (3, 5)],
    (96, 64): [(96, 64), (48, 32), (24, 16), (12, 8), (6, 4), (3, 2)],
    (7, 13): [(7, 13), (4, 7), (2, 4)],
    (4, 64): [(4, 64), (2, 32), (1, 16), (1, 8), (1, 4)],
}


def model(network: Any, size: tuple[int, int]) -> ModelConfig:
    """Networks with attention at the second map below the image, by its longer side."""
    maps = network in ("dcgan", "resnet")
    attention = [math.ceil(math.ceil(max(size) / 2) / 2)] if maps and max(size) > 10 else []
    return ModelConfig(
        network,
        5,
        False,
        GeneratorConfig(8, norm="batch", attention=attention),
        DiscriminatorConfig(8, norm="layer", attention=attention),
    )


def draw_weights(network: nn.Module) -> nn.Module:
    """Draw all weights from N(0, 0.3^2), so that biases, gamma and attention count too."""
    torch.manual_seed(1)
    for parameter in network.double().parameters():
        nn.init.normal_(parameter, 0, 0.3)
    return network


def transposed(network: Any, judge: bool, state: dict[str, Tensor], size: Any) -> dict[str, Tensor]:
    """The weights of the network for transposed images: the same numbers in transposed places."""
    patch = math.ceil(max(size) / 8)
    tokens = [math.ceil(side / patch) for side in size]
    small = resolutions(*size, None)[-1]
    stem = [-1, *small] if network in ("dcgan", "resnet") else [*tokens, -1]
    pixels = [3, patch, patch] if network == "transformer" else [3, *size]
    flat: dict[str, tuple[list[int], int]] = {  # shape of what lies flat in a dimension
        "stem.linear.weight": (stem, 0),
        "stem.linear.bias": (stem, 0),
        "to_image.linear.weight": (pixels, 0),
        "to_image.linear.bias": (pixels, 0),
        "stem.position_embedding.vectors": (tokens, 0),
        "from_image.position_embedding.vectors": (tokens, 0),
    }
    if judge and network == "mlp":
        flat["blocks.0.linear.weight"] = pixels, 1
    if judge and network == "dcgan":
        flat["logit.weight"] = [-1, *small], 1
    result = {}
    for key, value in state.items():
        if key in flat:
            shape, dim = flat[key]
            order = torch.arange(value.shape[dim]).view(shape)
            first = 1 if shape[0] in (-1, 3) else 0  # channels come before the two sides
            order = order.transpose(first, first + 1).flatten()
            result[key] = value.index_select(dim, order)
        else:
            result[key] = value.mT.contiguous() if value.dim() == 4 else value
    return result


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_transposed_images_are_made_and_judged_alike(network: Any, size: tuple[int, int]) -> None:
    config, spec = model(network, size), ImageSpec((3, *size))
    other = ImageSpec((3, *size[::-1]))
    latents = torch.randn(4, 5, dtype=torch.float64)
    images = torch.randn(4, 3, *size, dtype=torch.float64)
    made, theirs = draw_weights(build_generator(config, spec)), build_generator(config, other)
    theirs.double().load_state_dict(transposed(network, False, made.state_dict(), size))
    torch.testing.assert_close(made(latents), theirs(latents).mT, rtol=1e-9, atol=1e-9)
    assert made(latents).shape == images.shape
    judge, theirs = (
        draw_weights(build_discriminator(config, spec)),
        build_discriminator(config, other),
    )
    theirs.double().load_state_dict(transposed(network, True, judge.state_dict(), size))
    torch.testing.assert_close(judge(images), theirs(images.mT), rtol=1e-9, atol=1e-9)
    assert judge(images).std() > 1e-3


@pytest.mark.parametrize("size", MAPS, ids=str)
@pytest.mark.parametrize("network", ["dcgan", "resnet"])
def test_maps_halve_both_sides_rounded_up_and_name_the_norms(
    network: Any, size: tuple[int, int]
) -> None:
    assert resolutions(*size, None) == MAPS[size]
    generator = build_generator(model(network, size), ImageSpec((3, *size))).eval()
    names = execution_order(generator, (torch.randn(2, 5),))
    found = [name.partition("_")[0] for name in names]
    there = [f"{h}x{w}" for h, w in reversed(MAPS[size])]
    if network == "dcgan":
        assert found == there[:-1]
    else:  # a block has two: at its input's size and at its output's; one more before the output
        pairs = itertools.chain(*itertools.pairwise(there))
        assert found == [*pairs, there[-1]]


def test_attention_is_placed_by_the_longer_side() -> None:
    parts = GeneratorConfig(8, attention=[20]), DiscriminatorConfig(8, attention=[20])
    config, spec = ModelConfig("dcgan", 5, False, *parts), ImageSpec((3, 24, 40))
    generator, judge = build_generator(config, spec), build_discriminator(config, spec)
    sizes = list[torch.Size]()
    for network in (generator, judge):
        (layer,) = (m for m in network.modules() if isinstance(m, SelfAttention))
        layer.register_forward_hook(lambda _, given, out: sizes.append(given[0].shape[2:]))
    judge(generator(torch.randn(2, 5)))
    assert sizes == [(12, 20), (12, 20)]
    parts[0].attention = [12]
    there = r"there are maps of 5 \(3x5\), 10 \(6x10\), 20 \(12x20\)"
    with pytest.raises(ValueError, match=f"attention: not at 12 pixels, {there}"):
        build_generator(config, spec)


@pytest.mark.parametrize("size", [(3, 5), (5, 3), (6, 10)])
def test_attention_is_softmax_over_pooled_maps(size: tuple[int, int]) -> None:
    layer, maps = SelfAttention(16).double(), torch.randn(2, 16, *size, dtype=torch.float64)
    draw_weights(layer)
    found = layer(maps)
    query, key, value, out = (
        part.weight.flatten(1) for part in (layer.query, layer.key, layer.value, layer.output)
    )
    for image, result in zip(maps, found, strict=True):
        windows = [
            (slice(y, y + 2), slice(x, x + 2))
            for y in range(0, size[0], 2)
            for x in range(0, size[1], 2)
        ]
        keys, values = (
            torch.stack(
                [torch.einsum("oc,chw->ohw", w, image)[:, y, x].amax((1, 2)) for y, x in windows]
            )
            for w in (key, value)
        )
        for y, x in itertools.product(range(size[0]), range(size[1])):
            asked = query @ image[:, y, x]
            weights = torch.softmax(keys @ asked / math.sqrt(len(asked)), 0)
            expected = image[:, y, x] + layer.gamma * (out @ (weights @ values))
            torch.testing.assert_close(result[:, y, x], expected)
