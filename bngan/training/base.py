"""What every training is made of: means over workers, an optimiser's step, what may go wrong."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bngan.batchnorm.layer import synchronize
from bngan.data.dataset import ImageSpec, ImageSplit
from bngan.distributed.collectives import (
    all_reduce_sum,
    broadcast_module,
    sum_gradients,
)
from bngan.networks.config import ModelConfig
from bngan.training.config import OptimizationConfig
from bngan.training.ema import ExponentialMovingAverage
from bngan.training.optimizers import gradient_norm, trained


class AveragedMetrics(dict[str, float]):
    """Means by name, and in ``steps`` over how many steps each: not every step has every value."""

    def __init__(self, means: Mapping[str, float], steps: Mapping[str, int]) -> None:
        super().__init__(means)
        self.steps = dict(steps)


class NonFiniteError(Exception):
    """Numbers that are not finite; raised on every worker alike. The trainer's state is spoilt."""


class Training(Protocol):
    """What runs, scores and saves a training asks of it; the same on every worker.

    Attributes:
        images_seen: real images that training has been shown.
        rollbacks: how often it was taken back to an earlier state; each time the noise is new.
        ema: the averaged generator; calibrate a copy of its module before use, unless
            ``keeps_statistics``.
        keeps_statistics: batch norm uses stored statistics in training as well, and they stay.
    """

    model: ModelConfig
    config: OptimizationConfig
    images: ImageSpec
    dtype: torch.dtype
    ema: ExponentialMovingAverage
    images_seen: int
    rollbacks: int
    keeps_statistics: bool

    @property
    def networks(self) -> dict[str, nn.Module]:
        """By name, what is trained: the same on every worker, bit for bit."""

    def fit(self, data: ImageSplit, until: int) -> AveragedMetrics:
        """Train until at least ``until`` images have been seen: means over the global batches.

        Each mean is over the steps that had such a value.

        Raises:
            NonFiniteError: on every worker, before the optimiser's step. See ``roll_back``.
        """

    def passed(self, cadence: int) -> bool:
        """Whether the last step took ``images_seen`` past a multiple of ``cadence``."""

    def state_dict(self) -> dict[str, Any]:
        """Everything the next step depends on: tensors and plain numbers in nested dicts."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``. Raises ``RuntimeError`` if it is of other networks."""

    def roll_back(self, state: Mapping[str, Any]) -> None:
        """Go back to an earlier ``state``, parameters and buffers, and on from there with other noise.

        Learning rates are multiplied by ``rollback_lr_factor``, each time anew.
        """


def place(network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """``network`` in training mode, ready for several workers, with worker 0's values on all."""
    network = synchronize(network).to(device, dtype).train()
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    broadcast_module(network)
    return network


def add(totals: dict[str, Tensor], more: Mapping[str, Tensor]) -> None:
    """Add values to sums by name."""
    for name, value in more.items():
        totals[name] = totals[name] + value if name in totals else value


def mean_over_steps(steps: Iterator[Mapping[str, Tensor]]) -> AveragedMetrics:
    """Of every step's values, this worker's shares of the batch means; a collective."""
    totals, counts = dict[str, Tensor](), Counter[str]()
    for seen in steps:
        add(totals, seen)
        counts.update(seen.keys())
    if not totals:
        return AveragedMetrics({}, {})
    sums = all_reduce_sum(torch.stack(list(totals.values()))).tolist()
    means = {name: total / counts[name] for name, total in zip(totals, sums, strict=True)}
    return AveragedMetrics(means, counts)


def descend(optimizer: torch.optim.Optimizer, name: str) -> Tensor:
    """One step along the accumulated gradients of ``name``, summed over workers; their norm."""
    parameters = trained(optimizer)
    sum_gradients(parameters)
    norm = gradient_norm(parameters)
    # A sum over workers is not finite on any of them if it is not on one: they all stop here.
    if not bool(norm.isfinite()):
        raise NonFiniteError(f"gradients of the {name} are not finite")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
