"""Transformers of image patches (Dosovitskiy et al. 2021; as a GAN, Jiang et al. 2021), for any size.

Tokens are patches, at most 8 by 8 of them unless ``patch_size`` says otherwise. The norm in front of
attention and of the two-layer MLP may be batch norm, over all tokens of the batch.
"""

import math
from functools import partial

import torch
from torch import Tensor, nn

from bngan.data.dataset import ImageSpec
from bngan.networks.blocks import activation, attention, check_attention, named, output
from bngan.networks.config import ModelConfig, NetworkConfig
from bngan.networks.norms import (
    Condition,
    Conditioned,
    apply,
    generator_norm,
    largest_divisor,
    norm,
    token_norm,
)

_HEAD = 32
"""Features of an attention head, at least."""
_EXPANSION = 4


class Block(Conditioned):
    """Attention, then an MLP, each after a norm and added to its input."""

    def __init__(
        self, norms: tuple[nn.Module | None, nn.Module | None], bias: bool, config: NetworkConfig
    ) -> None:
        super().__init__()
        width = config.width
        first, second = (token_norm(norm, width) or nn.Identity() for norm in norms)
        hidden = nn.Linear(width, _EXPANSION * width)
        self.attention = nn.ModuleList([first, MultiHeadAttention(width, bias)])
        self.mlp = nn.ModuleList(
            [second, hidden, activation(config), nn.Linear(_EXPANSION * width, width, bias=bias)]
        )

    def forward(self, tokens: Tensor, condition: Condition | None = None) -> Tensor:
        """``(N, T, width)`` to the same."""
        for branch in (self.attention, self.mlp):
            values = tokens
            for layer in branch:  # type: ignore[attr-defined]
                values = apply(layer, values, condition)
            tokens = tokens + values
        return tokens


class MultiHeadAttention(nn.Module):
    """Multi-head attention among the tokens of an image; no bias that softmax would cancel."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.heads = largest_divisor(width, max(1, width // _HEAD))
        self.features = width // self.heads
        self.inputs = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(N, T, width)`` to the same."""
        parts = self.inputs(tokens).view(*tokens.shape[:2], 3, self.heads, self.features)
        parts = parts.permute(2, 0, 3, 1, 4)
        seen = attention(*parts)
        mixed: Tensor = self.output(seen.transpose(1, 2).flatten(2))
        return mixed


class PositionalEmbedding(nn.Module):
    """Adds a learned vector to each token, by its place."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(tokens, width))
        nn.init.normal_(self.vectors, 0.0, 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(N, T, width)`` to the same."""
        return tokens + self.vectors


class Unpatchify(nn.Module):
    """Tokens ``(N, T, C * patch * patch)`` to images ``(N, C, H, W)``."""

    def __init__(self, rows: int, columns: int, patch: int, images: ImageSpec) -> None:
        super().__init__()
        self.rows, self.columns, self.patch = rows, columns, patch
        self.channels, *self.size = images.shape

    def forward(self, tokens: Tensor) -> Tensor:
        """What stands over the edge is cut off."""
        # As pixel_shuffle, whose backward does not take an empty batch.
        grid = self.rows, self.columns, self.channels, self.patch, self.patch
        image = tokens.view(len(tokens), *grid).permute(0, 3, 1, 4, 2, 5)
        height, width = self.rows * self.patch, self.columns * self.patch
        image = image.reshape(len(tokens), self.channels, height, width)
        return image[..., : self.size[0], : self.size[1]]


class _Transpose(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values.mT


class _MeanPool(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1)


def generator_layers(model: ModelConfig, images: ImageSpec) -> list[nn.Module]:
    """``(N, latent_dim)`` to ``(N, *images.shape)``."""
    config, channels = model.generator, images.shape[0]
    patch, rows, columns = _patches(config, images)
    norms = partial(generator_norm, model, images, config.width, spatial=False)
    places, width = rows * columns, config.width
    # The places bring a bias of their own.
    first = nn.Linear(model.latent_dim, places * width, bias=False)
    layers: list[nn.Module] = [
        first,
        nn.Unflatten(1, (places, width)),
        PositionalEmbedding(places, width),
    ]
    # What is added to every token of a channel, the norms to come take away.
    bias = config.norm == "none"
    layers += [Block((norms(), norms()), bias, config) for _ in range(_depth(config))]
    layers.append(token_norm(norms(), width) or nn.Identity())

    def last(bias: bool) -> nn.Module:
        pixels = nn.Linear(width, channels * patch**2, bias=bias)
        return nn.Sequential(pixels, Unpatchify(rows, columns, patch, images))

    return layers + output(last, channels, True, model)


def discriminator_layers(model: ModelConfig, images: ImageSpec) -> tuple[list[nn.Module], int]:
    """``(N, *images.shape)`` to features: the mean token."""
    config, (channels, height, width) = model.discriminator, images.shape
    patch, rows, columns = _patches(config, images)
    norms = partial(norm, config.norm, config.width, False, model.batch_norm)
    # Batch norm before the output would blind it to batches, instance norm to images.
    last = None if config.norm in ("batch", "instance") else norms()
    return [
        nn.ZeroPad2d((0, columns * patch - width, 0, rows * patch - height)),
        nn.Conv2d(channels, config.width, patch, patch, bias=False),
        nn.Flatten(2),
        _Transpose(),
        PositionalEmbedding(rows * columns, config.width),
        *(Block((norms(), norms()), True, config) for _ in range(_depth(config))),
        token_norm(last, config.width) or nn.Identity(),
        _MeanPool(),
    ], config.width


def _patches(config: NetworkConfig, images: ImageSpec) -> tuple[int, int, int]:
    """Side of a patch, and how many rows and columns of them cover the image."""
    check_attention(config, [])
    if config.norm_place == "after_activation":
        problem = "a transformer's norms stand where no activation is"
        raise ValueError(f"{named(config, 'norm_place')}: {problem}")
    _, height, width = images.shape
    patch = config.patch_size or math.ceil(max(height, width) / 8)
    if patch > max(height, width):
        raise ValueError(
            f"{named(config, 'patch_size')}: {patch} pixels are more than the image has"
        )
    return patch, math.ceil(height / patch), math.ceil(width / patch)


def _depth(config: NetworkConfig) -> int:
    return 4 if config.depth is None else config.depth
