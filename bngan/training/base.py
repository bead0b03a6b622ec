"""Base class of trainers, and collectives of a training step."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from bngan.batchnorm.layer import synchronize
from bngan.data.dataset import ImageSpec, ImageSplit, sample_order
from bngan.distributed.collectives import (
    all_reduce_sum,
    broadcast_flag,
    broadcast_module,
    shard_slice,
    sum_gradients,
)
from bngan.networks.config import ModelConfig
from bngan.networks.old_keys import with_current_keys
from bngan.numerics.rng import derived_seed
from bngan.training.batches import Batch, BatchLoader, HostBatch
from bngan.training.config import ExecutionConfig, OptimizationConfig
from bngan.training.ema import ExponentialMovingAverage
from bngan.training.noise import noise_blocks
from bngan.training.optimizers import (
    load_optimizer,
    optimized_parameters,
    optimizer_state,
    scheduled_factor,
    set_learning_rate,
    skip_step_if,
)

GRADIENT_NORMS = {
    "gradient_norm_d": "discriminator",
    "gradient_norm_g": "generator",
    "gradient_norm_z": "latents",
}
"""Networks by the metric that has the norm of their gradients."""


class AveragedMetrics(dict[str, float]):
    """Means by name; ``steps`` counts the steps that had each value, since steps may lack some."""

    def __init__(self, means: Mapping[str, float], steps: Mapping[str, int]) -> None:
        super().__init__(means)
        self.steps = dict(steps)


class NonFiniteError(Exception):
    """Report gradients that are not finite; all workers raise it. The trainer's state is spoilt."""


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
        execution: ExecutionConfig | None = None,
    ) -> None:
        self.model, self.config, self.images, self.seed = model, optimization, images, seed
        self.device, self.dtype = torch.device(device), dtype
        self.images_seen = self.rollbacks = 0
        per_pass = optimization.images_per_pass
        self._mine = shard_slice(per_pass)  # this worker's slice of one pass; _rows: of the batch
        rows = np.arange(optimization.batch_size).reshape(-1, per_pass)
        self._rows = rows[:, self._mine].flatten()
        self._noise_blocks = noise_blocks(self._rows)
        self.execution = execution or ExecutionConfig()
        self._loader: BatchLoader | None = None
        self._failed = torch.zeros((), device=self.device)  # 1 after gradients that are not finite

    @abstractmethod
    def draw_noise(self, step: int) -> tuple[Tensor, ...]:
        """Return this worker's random numbers of a step, ``(n, ...)`` float32 on the CPU."""

    @abstractmethod
    def train_on_batch(self, batch: Batch) -> dict[str, Tensor]:
        """Take one training step, and return this worker's share of the batch means.

        Gradients that are not finite change no parameter, and no later step does. The step does not
        wait for the device to learn of them: ``fit`` looks at its end.
        """

    def fit(self, data: ImageSplit, until: int) -> AveragedMetrics:
        """Train until ``images_seen`` is at least ``until``, and return the means of all batches.

        Each mean is over the steps that had the value: not all steps have a penalty. A collective.

        Raises:
            NonFiniteError: on every worker, if gradients of a step were not finite. See
                ``roll_back``.
        """
        totals, counts, norms = dict[str, Tensor](), Counter[str](), list[tuple[int, str, Tensor]]()
        for batch in self._batches(data, until):
            seen = self.images_seen
            shares = self.train_on_batch(batch)
            accumulate(totals, shares)
            counts.update(shares.keys())
            norms += [(seen, name, shares[name]) for name in GRADIENT_NORMS if name in shares]
        if not totals:
            return AveragedMetrics({}, {})
        shared = torch.stack([*totals.values(), self._failed.to(self.dtype)])
        *sums, failed = all_reduce_sum(shared).tolist()
        means = {name: total / counts[name] for name, total in zip(totals, sums, strict=True)}
        if broadcast_flag(bool(failed)):
            bad = ((seen, name) for seen, name, norm in norms if not norm.isfinite())
            # Without such a step here, the flag is of a step before this call.
            self.images_seen, name = next(bad, (self.images_seen, ""))
            of = f" of the {GRADIENT_NORMS[name]}" if name else ""
            raise NonFiniteError(f"gradients{of} are not finite")
        return AveragedMetrics(means, counts)

    def _batches(self, data: ImageSplit, until: int) -> Iterator[Batch]:
        """Yield the batches of the steps up to ``until``."""
        loader = self._loader
        if loader is None or loader.data is not data:
            loader = BatchLoader(data, self.device, self.dtype, self.execution.data_on_device)
            self._loader = loader

        def prepare(images_seen: int) -> HostBatch:
            indices = sample_order(self.seed, images_seen + self._rows, len(data))
            return loader.prepare(indices, self.draw_noise(images_seen // self.config.batch_size))

        starts = range(self.images_seen, until, self.config.batch_size)
        for batch in loader.batches(prepare, starts):
            yield batch if self.model.conditional else batch._replace(labels=None)

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
            **{name: optimizer_state(optimizer) for name, optimizer in self.optimizers.items()},
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
        self._failed.zero_()

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

    def _step(self, optimizer: torch.optim.Optimizer) -> Tensor:
        """Sum the accumulated gradients over workers, take a step, and return the sums' norm.

        The device decides about the step. If one worker's gradients are not finite, the sums are
        not finite on any worker: all leave their parameters as they are from here on.
        """
        parameters = optimized_parameters(optimizer)
        sum_gradients(parameters)
        norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        torch.maximum(self._failed, (norm - norm).ne(0).float(), out=self._failed)
        skip_step_if(optimizer, self._failed)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return norm

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
