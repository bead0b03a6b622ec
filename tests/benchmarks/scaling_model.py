"""How long a training step takes on P workers: messages from the layers, and what they cost.

A step is a chain of segments of compute, each of which ends with a message that all workers wait for:

    T(P) = c(P) + noise(P) + sum over messages of t(bytes, P)

    c(P)      compute of a worker on its b images, and drawing latents, block by block up to its own;
              where workers outnumber cores, their work shares them
    noise(P)  in every segment all wait for the slowest: sum of sigma * E[max of P normal numbers]
    t         alpha(P) + beta(P) * bytes, of a ring (gloo) or a tree over nodes (NCCL)

``docs/scaling.md`` has what came of it; ``scaling_check`` measures, ``scaling_curves`` draws.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bngan.training.noise import noise_blocks


def channels(network: nn.Module) -> list[int]:
    """Of every batch-norm layer, in order."""
    return [layer.num_features for layer in network.modules() if isinstance(layer, _BatchNorm)]


def parameters(network: nn.Module) -> int:
    """How many numbers a gradient has."""
    return sum(parameter.numel() for parameter in network.parameters())


def messages(
    generator: nn.Module, discriminator: nn.Module, groups: int = 1, joint: bool = False
) -> list[int]:
    """Bytes of every all-reduce of a step, in order: 2 L_G + 4 L_D + 2 of them.

    A norm sends counts, sums and sums of squares forward and two sums backward, in float64, of each
    group; D's step has a group of real and one of fake images for each (``joint``: one for all). The
    gradients of an optimiser are one message in float32. Without penalty and micro-batches.
    """
    g, d = channels(generator), channels(discriminator)
    both, fake = (1, 1) if joint else (2 * groups, groups)
    d_step = [_forward(c, groups) for c in g] + [_forward(c, both) for c in d]
    d_step += [_backward(c, both) for c in reversed(d)] + [4 * parameters(discriminator)]
    g_step = [_forward(c, fake) for c in d] + [_backward(c, fake) for c in reversed(d)]
    g_step += [_backward(c, groups) for c in reversed(g)] + [4 * parameters(generator)]
    return d_step + g_step


def _forward(channels: int, groups: int) -> int:
    return 8 * groups * (1 + 2 * channels)


def _backward(channels: int, groups: int) -> int:
    return 8 * groups * 2 * channels


def slowest(workers: int) -> float:
    """Expected maximum of so many standard normal numbers (Blom 1958; exact for one and two)."""
    if workers <= 2:
        return (workers - 1) / math.sqrt(math.pi)
    return NormalDist().inv_cdf((workers - 0.375) / (workers + 0.25))


class Network(Protocol):
    """What an all-reduce of so many bytes takes, in seconds."""

    def seconds(self, size: int, workers: int) -> float: ...


@dataclass(frozen=True)
class Line:
    """What was measured for one number of workers: alpha and beta, in seconds and seconds per byte."""

    latency: float
    per_byte: float

    def seconds(self, size: int, workers: int) -> float:
        return self.latency + self.per_byte * size if workers > 1 else 0.0


@dataclass(frozen=True)
class Ring:
    """gloo's all-reduce: 2 (P - 1) messages one after the other, of a P-th of the bytes each.

    Args:
        hop: seconds for a message to the neighbour.
        per_byte: seconds for a byte sent and summed.
    """

    hop: float
    per_byte: float

    def seconds(self, size: int, workers: int) -> float:
        if workers == 1:
            return 0.0
        hops = 2 * (workers - 1)
        return hops * (self.hop + self.per_byte * size / workers)


@dataclass(frozen=True)
class Tree:
    """NCCL's: a chain in each node, a binary tree over nodes, up and down.

    Latencies as NCCL's own tuner has them (src/graph/tuning.cc, Tree with the LL protocol): a start, a
    hop over NVLink, a hop over the network.
    """

    hop_network: float
    start: float = 6.8e-6
    hop_nvlink: float = 0.6e-6
    bytes_per_second_nvlink: float = 230e9
    bytes_per_second_network: float = 85e9
    gpus: int = 8
    """In a node."""

    def seconds(self, size: int, workers: int) -> float:
        if workers == 1:
            return 0.0
        nodes, inside = math.ceil(workers / self.gpus), min(workers, self.gpus)
        hops = (inside - 1) * self.hop_nvlink + math.ceil(math.log2(nodes)) * self.hop_network
        rate = self.bytes_per_second_network if nodes > 1 else self.bytes_per_second_nvlink
        return self.start + 2 * hops + 2 * (workers - 1) / workers * size / rate


@dataclass(frozen=True)
class Worker:
    """One worker's side of a step.

    Args:
        compute: seconds between messages, together.
        noise: standard deviation of each segment, in seconds; of the step itself, where workers differ
            for good and not from segment to segment.
        drawn: seconds for the latents of one image.
        images: of a worker.
        cores: that workers share; None: each has its own.
    """

    compute: float
    noise: Sequence[float]
    drawn: float
    images: int
    cores: int | None = None


def drawn_by(worker: int, images: int) -> int:
    """Of how many images this worker draws latents: of its own, and of those before in their blocks."""
    rows = noise_blocks(worker * images + np.arange(images))
    return sum(part.drawn for part in rows)


def most_drawn(images: int, workers: int) -> int:
    """By the worker that draws most, for whom the others wait."""
    return max(drawn_by(worker, images) for worker in range(workers))


def step_seconds(worker: Worker, sizes: Sequence[int], network: Network, workers: int) -> float:
    """T(P). Where workers outnumber cores a core that waits takes another's work: no noise is added."""
    crowded = worker.cores is not None and workers > worker.cores
    share = workers / worker.cores if crowded and worker.cores else 1.0
    noise = 0.0 if crowded else slowest(workers) * sum(worker.noise)
    sent = sum(network.seconds(size, workers) for size in sizes)
    drawn = worker.drawn * most_drawn(worker.images, workers)
    return share * (worker.compute + drawn) + noise + sent
