"""Random numbers of a training step: latents, mixture weights and augmentation draws."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bngan.numerics.rng import Stream, generator
from bngan.training.augmentation import DRAWS

BLOCK = 256
"""Rows of a global batch that share one random generator. Another number changes the trajectory."""


class NoiseBlock(NamedTuple):
    """A worker's rows in one block of a global batch."""

    block: int
    """Number of the block in the batch."""
    drawn: int
    """Rows that have to be drawn: the block's first ones, up to the last row of the worker."""
    places: np.ndarray
    """Positions of the worker's rows in the block, ``(n,)`` int64."""


def noise_blocks(rows: np.ndarray) -> list[NoiseBlock]:
    """Split rows ``(n,)`` of a global batch, which must ascend, into their blocks."""
    if not len(rows):
        return [NoiseBlock(0, 0, rows)]
    parts = np.split(rows, np.flatnonzero(np.diff(rows // BLOCK)) + 1)
    return [NoiseBlock(int(p[0]) // BLOCK, int(p[-1]) % BLOCK + 1, p % BLOCK) for p in parts]


def training_latents(seed: int, step: int, rows: list[NoiseBlock], dim: int) -> Tensor:
    """Return N(0, 1) latents ``(n, dim)`` float32 of ``rows`` of the global batch at ``step``."""
    source = seed, Stream.TRAINING, step
    return draw_blocks(source, rows, lambda random, n: random.standard_normal((n, dim), np.float32))


def mixture_weights(seed: int, step: int, rows: list[NoiseBlock]) -> Tensor:
    """Return uniform weights ``(n, 1, 1, 1)`` float32 in [0, 1) that mix ``rows`` at ``step``."""
    source = seed, Stream.PENALTY, step
    return draw_blocks(source, rows, lambda random, n: random.random((n, 1, 1, 1), np.float32))


def augmentation_draws(seed: int, step: int, rows: list[NoiseBlock]) -> Tensor:
    """Return uniform draws ``(n, 3, DRAWS)`` float32 in [0, 1) that augment ``rows``."""
    source = seed, Stream.AUGMENTATION, step
    return draw_blocks(source, rows, lambda random, n: random.random((n, 3, DRAWS), np.float32))


def draw_blocks(
    source: tuple[int, Stream, int],
    rows: list[NoiseBlock],
    draw: Callable[[np.random.Generator, int], np.ndarray],
) -> Tensor:
    """Draw all blocks from their generators, and return the draws of the worker's rows."""
    parts = [draw(generator(*source, part.block), part.drawn)[part.places] for part in rows]
    return torch.from_numpy(np.concatenate(parts))
