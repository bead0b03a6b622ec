"""Latents and labels as pure functions of the place where they are used.

In training the noise of a row of the global batch depends on (seed, step, row): any sharding sees
the same numbers, and a worker draws little more than its own. In sampling the noise of an image
depends on (seed, index) alone: image i is the same alone or among thousands.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from bngan.distributed.collectives import shard_slice
from bngan.numerics.rng import Stream, generator

CALIBRATION_LATENTS = 10_000
_BATCH = 500
_GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)
"""Fractional part of the golden ratio in units of 2^-64."""


def indexed_latents(seed: int, indices: Iterable[int], dim: int, truncation: float = 1.0) -> Tensor:
    """Return latents ``(len(indices), dim)`` float32 ~ N(0, truncation^2).

    Row i depends on (seed, indices[i]) only. ``truncation`` < 1 pulls latents towards the mean:
    more typical images, less variety.
    """
    latents = [
        generator(seed, Stream.SAMPLING, int(index)).standard_normal(dim, dtype=np.float32)
        for index in indices
    ]
    rows = np.stack(latents) if latents else np.zeros((0, dim), np.float32)
    return torch.from_numpy(rows) * truncation


def great_circle(one: Tensor, other: Tensor, steps: int) -> Tensor:
    """Return latents ``(N, steps, dim)`` from ``one`` to ``other`` ``(N, dim)``, at even angles."""
    lengths = one.norm(dim=1), other.norm(dim=1)
    cosine = (one * other).sum(1) / (lengths[0] * lengths[1])
    angle = cosine.clamp(-0.9999, 0.9999).acos()[:, None, None]
    share = torch.linspace(0, 1, steps)[None, :, None]
    weights = ((1 - share) * angle).sin(), (share * angle).sin()
    path: Tensor = (weights[0] * one[:, None] + weights[1] * other[:, None]) / angle.sin()
    return path


def indexed_labels(seed: int, indices: Iterable[int], frequencies: Sequence[float]) -> Tensor:
    """Return labels ``(len(indices),)`` int64 with the given frequencies.

    A label depends on (seed, index) only. Multiples of the golden ratio (Weyl's sequence) choose
    the classes. Any run of indices then has every class in nearly its share, and scores do not
    suffer from chance in the labels as well.
    """
    start = generator(seed, Stream.LABELS).random()
    # Integers wrap exactly; float products of indices beyond 2^50 would have no fractional part.
    multiples = np.array(list(indices), np.uint64) * _GOLDEN_RATIO
    uniform = (start + multiples / 2.0**64) % 1
    return _labels(uniform, frequencies)


def calibration_batches(
    dim: int, frequencies: Sequence[float] = (), count: int = CALIBRATION_LATENTS
) -> Iterator[tuple[Tensor, ...]]:
    """Yield fixed latents ``(n, dim)`` and, given class frequencies, labels ``(n,)``.

    Each batch is this worker's share of 500: together the workers see the latents that one worker
    alone would see.
    """
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        whole = _inputs(Stream.CALIBRATION, start, size, dim, frequencies)
        yield tuple(part[shard_slice(size)] for part in whole)


def telemetry_batch(
    number: int, size: int, dim: int, frequencies: Sequence[float] = ()
) -> tuple[Tensor, ...]:
    """Return fixed latents ``(size, dim)`` and, given class frequencies, labels ``(size,)``."""
    return _inputs(Stream.TELEMETRY, number, size, dim, frequencies)


def _inputs(
    stream: Stream, position: int, size: int, dim: int, frequencies: Sequence[float]
) -> tuple[Tensor, ...]:
    random = generator(0, stream, position)
    latents = torch.from_numpy(random.standard_normal((size, dim), dtype=np.float32))
    return (latents, _labels(random.random(size), frequencies)) if frequencies else (latents,)


def _labels(uniform: np.ndarray, frequencies: Sequence[float]) -> Tensor:
    labels = np.searchsorted(np.cumsum(frequencies)[:-1], uniform, side="right")
    return torch.from_numpy(labels.astype(np.int64))
