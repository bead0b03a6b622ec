"""Transformers of image patches, for any image size.

The model is that of Dosovitskiy et al. 2021, as a GAN that of Jiang et al. 2021. Tokens are
patches; by default there are at most 8 by 8 of them (``patch_size``). The norm in front of
attention and of the two-layer MLP may be batch norm, over all tokens of the batch.
"""

import math
from functools import partial

import torch
from torch import Tensor, nn

from bngan.data.dataset import ImageSpec
from bngan.networks.base import Discriminator, Generator
from bngan.networks.blocks import (
    Block,
    activation,
    attention,
    check_attention,
    output_layers,
    setting_error,
)
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
"""Minimum number of features in an attention head."""
_EXPANSION = 4


class TransformerBlock(Conditioned):
    """Transformer block: attention, then an MLP; each follows a norm and is added to its input."""

    def __init__(
        self, norms: tuple[nn.Module | None, nn.Module | None], bias: bool, config: NetworkConfig
    ) -> None:
        super().__init__()
        width = config.width
        hidden = nn.Linear(width, _EXPANSION * width)
        self.norm1 = token_norm(norms[0], width)
        self.attention = MultiHeadAttention(width, bias)
        self.norm2 = token_norm(norms[1], width)
        self.mlp = Block(
            hidden=hidden,
            activation=activation(config),
            output=nn.Linear(_EXPANSION * width, width, bias=bias),
        )

    def forward(self, tokens: Tensor, condition: Condition | None = None) -> Tensor:
        """Map ``(N, T, width)`` to the same shape."""
        tokens = tokens + self.attention(apply(self.norm1, tokens, condition))
        mixed: Tensor = tokens + self.mlp(apply(self.norm2, tokens, condition))
        return mixed


class MultiHeadAttention(nn.Module):
    """Multi-head attention among an image's tokens, without biases that softmax would cancel."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.heads = largest_divisor(width, max(1, width // _HEAD))
        self.features = width // self.heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(N, T, width)`` to the same shape."""
        parts = self.qkv(tokens).view(*tokens.shape[:2], 3, self.heads, self.features)
        parts = parts.permute(2, 0, 3, 1, 4)  # (3, N, heads, T, features)
        seen = attention(*parts)  # (N, heads, T, features)
        mixed: Tensor = self.output(seen.transpose(1, 2).flatten(2))
        return mixed


class PositionalEmbedding(nn.Module):
    """Add a learned vector to each token, by its place."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(tokens, width))
        nn.init.normal_(self.vectors, 0.0, 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(N, T, width)`` to the same shape."""
        return tokens + self.vectors


class Unpatchify(nn.Module):
    """Turn tokens ``(N, T, C * patch * patch)`` into images ``(N, C, H, W)``."""

    def __init__(self, rows: int, columns: int, patch: int, images: ImageSpec) -> None:
        super().__init__()
        self.grid = rows, columns, images.shape[0], patch, patch
        self.size = images.shape[1:]

    def forward(self, tokens: Tensor) -> Tensor:
        """Return images; pixels beyond the edge are cut off."""
        # Same as pixel_shuffle, whose backward does not take an empty batch.
        image = tokens.view(len(tokens), *self.grid).permute(0, 3, 1, 4, 2, 5)
        image = image.flatten(4).flatten(2, 3)
        return image[..., : self.size[0], : self.size[1]]


class TransformerGenerator(Generator):
    """Map a latent to tokens, mix them, and join their patches to an image."""

    def __init__(self, model: ModelConfig, images: ImageSpec) -> None:
        super().__init__()
        config, channels, width = model.generator, images.shape[0], model.generator.width
        patch, rows, columns = _patches(config, images)
        norms = partial(generator_norm, model, images, width, spatial=False)
        tokens = rows * columns
        self.stem = Block(  # (N, T, width), and so after each block
            # The position embedding has a bias of its own.
            linear=nn.Linear(model.latent_dim, tokens * width, bias=False),
            to_tokens=nn.Unflatten(1, (tokens, width)),
            position_embedding=PositionalEmbedding(tokens, width),
        )
        # Later norms remove a constant that is added to every token of a channel.
        bias = config.norm == "none"
        self.blocks = nn.ModuleList(
            TransformerBlock((norms(), norms()), bias, config) for _ in range(_depth(config))
        )
        self.to_image = Block(
            norm=token_norm(norms(), width),
            linear=nn.Linear(width, channels * patch**2, bias=not config.output_norm),
            unpatchify=Unpatchify(rows, columns, patch, images),
            **output_layers(channels, True, model),
        )


class TransformerDiscriminator(Discriminator):
    """Map each patch to a token, mix the tokens, and average them."""

    def __init__(self, model: ModelConfig, images: ImageSpec) -> None:
        super().__init__()
        config, (channels, height, width) = model.discriminator, images.shape
        patch, rows, columns = _patches(config, images)
        norms = partial(norm, config.norm, config.width, False, model.batch_norm)
        # Before the output, batch norm would make all batches equal, and instance norm all images.
        last = None if config.norm in ("batch", "instance") else norms()
        self.from_image = Block(
            pad=nn.ZeroPad2d((0, columns * patch - width, 0, rows * patch - height)),
            conv=nn.Conv2d(channels, config.width, patch, patch, bias=False),
            to_tokens=_ToTokens(),
            position_embedding=PositionalEmbedding(rows * columns, config.width),
        )
        self.blocks = nn.Sequential(
            *(TransformerBlock((norms(), norms()), True, config) for _ in range(_depth(config)))
        )
        self.norm = token_norm(last, config.width)
        self.features = config.width

    def extract(self, images: Tensor) -> Tensor:
        """Return features ``(N, features)`` of images ``(N, C, H, W)``: the mean token."""
        tokens = self.blocks(self.from_image(images))  # (N, T, width)
        mean: Tensor = self.norm(tokens).mean(1)  # (N, width)
        return mean


class _ToTokens(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.flatten(2).mT


def _patches(config: NetworkConfig, images: ImageSpec) -> tuple[int, int, int]:
    """Return the side of a patch, and the rows and columns of patches that cover the image."""
    check_attention(config, [])
    if config.norm_place == "after_activation":
        problem = "a transformer's norms stand where no activation is"
        raise setting_error(config, "norm_place", problem)
    _, height, width = images.shape
    patch = config.patch_size or math.ceil(max(height, width) / 8)
    if patch > max(height, width):
        raise setting_error(config, "patch_size", f"{patch} pixels are more than the image has")
    return patch, math.ceil(height / patch), math.ceil(width / patch)


def _depth(config: NetworkConfig) -> int:
    return 4 if config.depth is None else config.depth
