"""Base class of trainers, and collectives of a training step."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from bngan.batchnorm.layer import synchronize
from bngan.data.dataset import ImageSpec, ImageSplit, sample_order
from bngan.data.images import from_uint8
from bngan.distributed.collectives import (
    all_reduce_sum,
    broadcast_module,
    shard_slice,
    sum_gradients,
)
from bngan.networks.config import ModelConfig
from bngan.networks.old_keys import with_current_keys
from bngan.numerics.rng import derived_seed
from bngan.training.config import OptimizationConfig
from bngan.training.ema import ExponentialMovingAverage
from bngan.training.noise import noise_blocks
from bngan.training.optimizers import (
    load_optimizer,
    optimized_parameters,
    scheduled_factor,
    set_learning_rate,
)


class AveragedMetrics(dict[str, float]):
    """Means by name; ``steps`` counts the steps that had each value, since steps may lack some."""

    def __init__(self, means: Mapping[str, float], steps: Mapping[str, int]) -> None:
        super().__init__(means)
        self.steps = dict(steps)


class NonFiniteError(Exception):
    """Report gradients that are not finite; all workers raise it. The trainer's state is spoilt."""


class Batch(NamedTuple):
    """This worker's slice of a global batch, on the device.

    Attributes:
        indices: positions of the images in the data set, ``(n,)`` int64.
        real: images ``(n, C, H, W)`` in [-1, 1].
        labels: classes ``(n,)`` int64; None for a model without classes.
    """

    indices: np.ndarray
    real: Tensor
    labels: Tensor | None


class BaseTrainer(ABC):
    """Train a generator; every worker runs the same trainer on its slice of the global batches.

    The trajectory is a function of (configuration, data, seed) and does not depend on the number of
    workers: noise and sample order are functions of the images seen, batch norm and gradients are
    those of the global batch.

    A subclass builds ``generator``, ``ema``, ``networks`` and ``optimizers``, and implements
    ``train_on_batch``.

    Attributes:
        images_seen: number of real images in all steps so far.
        rollbacks: number of calls of ``roll_back`` so far; each call changes the noise.
        generator: the network that is trained, synchronized over workers.
        ema: the averaged generator. Calibrate a copy of its module before use, unless
            ``keeps_statistics``.
        networks: the trained networks by state-dict key; all workers hold the same bits.
        optimizers: the optimizers by state-dict key.
        keeps_statistics: whether batch norm normalizes with stored statistics in training too, and
            leaves these as they are.
    """

    keeps_statistics = False
    generator: nn.Module
    ema: ExponentialMovingAverage
    networks: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]

    def __init__(
        self,
        model: ModelConfig,
        optimization: OptimizationConfig,
        images: ImageSpec,
        seed: int,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> None:
        self.model, self.config, self.images, self.seed = model, optimization, images, seed
        self.device, self.dtype = torch.device(device), dtype
        self.images_seen = self.rollbacks = 0
        per_pass = optimization.images_per_pass
        self._mine = shard_slice(per_pass)  # this worker's slice of one pass; _rows: of the batch
        rows = np.arange(optimization.batch_size).reshape(-1, per_pass)
        self._rows = rows[:, self._mine].flatten()
        self._noise_blocks = noise_blocks(self._rows)

    @abstractmethod
    def train_on_batch(self, batch: Batch) -> dict[str, Tensor]:
        """Take one training step, and return this worker's share of the batch means."""

    def fit(self, data: ImageSplit, until: int) -> AveragedMetrics:
        """Train until ``images_seen`` is at least ``until``, and return the means of all batches.

        Each mean is over the steps that had the value: not all steps have a penalty. A collective.

        Raises:
            NonFiniteError: on every worker, before the optimizer's step. See ``roll_back``.
        """
        totals, counts = dict[str, Tensor](), Counter[str]()
        while self.images_seen < until:
            shares = self.train_on_batch(self._next_batch(data))
            accumulate(totals, shares)
            counts.update(shares.keys())
        if not totals:
            return AveragedMetrics({}, {})
        sums = all_reduce_sum(torch.stack(list(totals.values()))).tolist()
        means = {name: total / counts[name] for name, total in zip(totals, sums, strict=True)}
        return AveragedMetrics(means, counts)

    def _next_batch(self, data: ImageSplit) -> Batch:
        indices = sample_order(self.seed, self.images_seen + self._rows, len(data))
        images, classes = data.take(indices)
        real = from_uint8(images, self.device).to(self.dtype)
        labels = torch.from_numpy(classes).to(self.device)
        return Batch(indices, real, labels if self.model.conditional else None)

    def passed(self, cadence: int) -> bool:
        """Return whether the last step took ``images_seen`` past a multiple of ``cadence``."""
        return self.images_seen % cadence < self.config.batch_size

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on: nested dicts of tensors and numbers.

        Tensors are shared with the trainer. Keys are those of ``networks`` and ``optimizers``, and
        ``ema``, ``images_seen`` and ``rollbacks``.
        """
        return {
            **{name: network.state_dict() for name, network in self.networks.items()},
            "ema": self.ema.module.state_dict(),
            **{name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "images_seen": self.images_seen,
            "rollbacks": self.rollbacks,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a copy of ``state``.

        Raises:
            RuntimeError: if the state belongs to networks of other shapes, or to another data set.
        """
        for name, network in {**self.networks, "ema": self.ema.module}.items():
            network.load_state_dict(with_current_keys(state[name], network, self.model))
        for name, optimizer in self.optimizers.items():
            load_optimizer(optimizer, state[name])
        self.images_seen, self.rollbacks = int(state["images_seen"]), int(state["rollbacks"])

    def roll_back(self, state: Mapping[str, Any]) -> None:
        """Go back to an earlier ``state``, parameters and buffers, and continue with other noise.

        Each rollback multiplies the learning rates by ``rollback_lr_factor``.
        """
        rollbacks = self.rollbacks + 1
        self.load_state_dict(state)
        self.rollbacks = rollbacks
        for network in self.networks.values():
            network.zero_grad(set_to_none=True)

    @property
    def steps_done(self) -> int:
        """Return the number of steps so far."""
        return self.images_seen // self.config.batch_size

    @property
    def noise_seed(self) -> int:
        """Return the seed of latents and other draws: another one after each rollback."""
        return derived_seed(self.seed, self.rollbacks) if self.rollbacks else self.seed

    def _set_learning_rates(self) -> None:
        """Set the learning rates of the next step by schedule and rollbacks."""
        factor = scheduled_factor(self.config, self.images_seen)
        for optimizer in self.optimizers.values():
            set_learning_rate(optimizer, factor * self.config.rollback_lr_factor**self.rollbacks)

    def _finish_step(self) -> None:
        """Count the batch, and move the averaged generator."""
        self.images_seen += self.config.batch_size
        self.ema.update(self.config.batch_size, self.images_seen)


def to_training_device(network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Return ``network`` synchronized, in training mode, with worker 0's values; a collective."""
    network = synchronize(network).to(device, dtype).train()
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    broadcast_module(network)
    return network


def accumulate(totals: dict[str, Tensor], more: Mapping[str, Tensor]) -> None:
    """Add the values of ``more`` to the sums of the same name in ``totals``."""
    for name, value in more.items():
        totals[name] = totals[name] + value if name in totals else value


def all_reduce_and_step(optimizer: torch.optim.Optimizer, name: str) -> Tensor:
    """Sum the accumulated gradients of ``name`` over workers, take a step, and return their norm.

    Raises:
        NonFiniteError: on every worker, before the step.
    """
    parameters = optimized_parameters(optimizer)
    sum_gradients(parameters)
    norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
    # If one worker's value is not finite, the sum is not finite on any worker: all stop here.
    if not bool(norm.isfinite()):
        raise NonFiniteError(f"gradients of the {name} are not finite")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
