"""Latent vectors, each a pure function of where it is used.

Two laws: in training the latents of a whole global batch depend on (seed, step), so any sharding
sees the same numbers; in sampling each latent depends on (seed, index) alone, so image i is the same
alone or among thousands.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from bngan.randomness import Stream, generator

CALIBRATION_LATENTS = 10_000


def training_latents(seed: int, step: int, batch_size: int, dim: int) -> Tensor:
    """N(0, 1) latents ``(batch_size, dim)`` float32 of the global batch at ``step``."""
    random = generator(seed, Stream.TRAINING, step)
    return torch.from_numpy(random.standard_normal((batch_size, dim), dtype=np.float32))


def indexed_latents(seed: int, indices: Iterable[int], dim: int, truncation: float = 1.0) -> Tensor:
    """N(0, truncation^2) latents ``(len(indices), dim)`` float32; row i depends on (seed, index i).

    ``truncation`` < 1 pulls latents towards the mean: more typical images, less variety.
    """
    latents = [
        generator(seed, Stream.SAMPLING, int(index)).standard_normal(dim, dtype=np.float32)
        for index in indices
    ]
    rows = np.stack(latents) if latents else np.zeros((0, dim), np.float32)
    return torch.from_numpy(rows) * truncation


def calibration_latents(dim: int, count: int = CALIBRATION_LATENTS) -> Iterator[Tensor]:
    """Fixed latents for batch-norm calibration, in batches of at most 500 ``(n, dim)``."""
    for start in range(0, count, 500):
        random = generator(0, Stream.CALIBRATION, start)
        size = min(500, count - start)
        yield torch.from_numpy(random.standard_normal((size, dim), dtype=np.float32))
