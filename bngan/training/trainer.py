"""Adversarial trainer: one step of a discriminator and a generator against each other."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bngan.batchnorm.layer import group_sizes, groups_are_whole
from bngan.data.dataset import ImageSpec
from bngan.distributed.collectives import world_size
from bngan.networks.config import ModelConfig
from bngan.networks.factory import build_discriminator, build_generator
from bngan.networks.norms import iterate_spectral_norms
from bngan.numerics.precision import exact_convolutions, flushing_subnormals
from bngan.numerics.torch_internals import divide_all
from bngan.serialization.problem import ConfigurationError
from bngan.training.base import BaseTrainer, accumulate, to_training_device
from bngan.training.batches import Batch
from bngan.training.capture import StepPrograms
from bngan.training.config import (
    ExecutionConfig,
    OptimizationConfig,
    execution_problem,
    optimizer_errors,
)
from bngan.training.ema import ExponentialMovingAverage
from bngan.training.noise import augmentation_draws, mixture_weights, training_latents
from bngan.training.objective import AdversarialObjective, MicroBatch, NormGroups
from bngan.training.optimizers import (
    build_optimizer,
    optimized_parameters,
    train_affine_only,
)


class Trainer(BaseTrainer):
    """Train a generator against a discriminator.

    Args:
        initial: the generator's parameters and buffers to begin with; None: random ones.
        execution: settings of the speed; None: the defaults.

    Raises ``ValueError`` if the batch cannot be split into micro-batches and groups as configured.
    """

    def __init__(
        self,
        model: ModelConfig,
        optimization: OptimizationConfig,
        images: ImageSpec,
        seed: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        initial: Mapping[str, Tensor] | None = None,
        execution: ExecutionConfig | None = None,
    ) -> None:
        if problem := next(optimizer_errors(model, optimization), None):
            raise ConfigurationError(problem)
        super().__init__(model, optimization, images, seed, device, dtype, execution)
        if problem := execution_problem(self.execution, self.device.type):
            raise ConfigurationError(problem)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            generator = build_generator(model, images)
            discriminator = build_discriminator(model, images)
        if initial is not None:
            generator.load_state_dict(initial)
        self.generator = to_training_device(generator, self.device, dtype)
        self.discriminator = to_training_device(discriminator, self.device, dtype)
        self.ema = ExponentialMovingAverage(self.generator, optimization.ema_half_life)
        if optimization.trainable == "affine":
            train_affine_only(self.generator)
        lr = optimization.lr
        lr_d = lr if optimization.lr_discriminator is None else optimization.lr_discriminator
        self.optimizer_g = build_optimizer(self.generator, optimization, lr)
        self.optimizer_d = build_optimizer(self.discriminator, optimization, lr_d)
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        self.optimizers = {"optimizer_g": self.optimizer_g, "optimizer_d": self.optimizer_d}
        whole, compiled = (self.execution.compile == mode for mode in ("step", "networks"))
        self._programs = StepPrograms(self.device, self.optimizers.values()) if whole else None
        nets, settings = (self.generator, self.discriminator), (model, optimization)
        self.objective = AdversarialObjective(
            *nets, *settings, self._groups(), self.device, compiled
        )

    def _groups(self) -> NormGroups:
        """Return the groups of this worker's samples in one pass."""
        per_pass, norm_batch = self.config.images_per_pass, self.config.norm_batch
        sizes = group_sizes(range(self._mine.start, self._mine.stop), per_pass, norm_batch)
        return NormGroups(sizes, groups_are_whole(per_pass, norm_batch))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a copy of ``state``; see ``BaseTrainer``."""
        super().load_state_dict(state)
        if self._programs:
            self._programs.clear()

    def draw_noise(self, step: int) -> tuple[Tensor, ...]:
        """Return latents, mixture weights and augmentation draws; ``(n, 0)`` where not used."""
        where = self.noise_seed, step, self._noise_blocks
        unused = torch.empty(len(self._rows), 0)
        return (
            training_latents(*where, self.model.latent_dim),
            mixture_weights(*where) if self.config.penalty == "gradient_penalty" else unused,
            augmentation_draws(*where) if self.config.augment else unused,
        )

    def step(self, real: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Take one training step on images of the caller, with the noise of the present step.

        Args:
            real: this worker's slice of the global batch, ``(n, C, H, W)`` in [-1, 1].
            labels: int64 ``(n,)`` for a conditional model.

        Returns:
            See ``train_on_batch``.
        """
        drawn = self.draw_noise(self.steps_done)
        noise = tuple(values.to(self.device, self.dtype) for values in drawn)
        return self.train_on_batch(Batch(torch.empty(0), real, labels, noise))

    def train_on_batch(self, batch: Batch) -> dict[str, Tensor]:
        """Update D, then G if it is its turn, on this worker's slice of the global batch.

        Fakes have the labels of the real images. Without micro-batches one fake batch serves both
        updates: D sees it detached, and the updated D judges it for G.

        Returns:
            This worker's share of the batch means, on the device: sum them over workers.
        """
        config, done = self.config, self.steps_done
        penalized = config.penalty != "none" and done % config.penalty_every == 0
        generators_turn = (done + 1) % config.discriminator_steps == 0
        self._set_learning_rates()
        tensors = batch.real, *batch.noise, *(() if batch.labels is None else (batch.labels,))
        shares = self._run((penalized, generators_turn), tensors)
        self._finish_step()
        return shares

    def _run(self, kind: tuple[bool, bool], tensors: tuple[Tensor, ...]) -> dict[str, Tensor]:
        update = partial(self._update, *kind)
        return self._programs.run(kind, update, tensors) if self._programs else update(*tensors)

    @exact_convolutions()
    @flushing_subnormals()
    def _update(
        self, penalized: bool, generators_turn: bool, *tensors: Tensor
    ) -> dict[str, Tensor]:
        """Do what a step does on the device; nothing here waits for it.

        Args:
            tensors: the columns of ``MicroBatch`` for all passes; labels are optional.
        """
        objective, micro_batches = self.objective, self._micro_batches(*tensors)
        for layers in objective.parametrized.values():
            iterate_spectral_norms(layers)
        reuse = generators_turn and len(micro_batches) == 1
        totals: dict[str, Tensor] = {}

        # Update D
        fakes = []
        for micro_batch in micro_batches:
            with torch.set_grad_enabled(reuse):
                fake = objective.generate(micro_batch, track=reuse)
            accumulate(totals, objective.backward_discriminator(micro_batch, fake, penalized))
            fakes.append(fake)
        norms = {"gradient_norm_d": self._step(self.optimizer_d)}

        # Update G
        if generators_turn:
            parameters = optimized_parameters(self.optimizer_g)
            for micro_batch, fake in zip(micro_batches, fakes, strict=True):
                again = fake if reuse else objective.generate(micro_batch, track=True)
                accumulate(totals, objective.backward_generator(micro_batch, again, parameters))
            norms["gradient_norm_g"] = self._step(self.optimizer_g)

        means = divide_all(totals.values(), self.config.batch_size)
        if world_size() > 1:
            norms = {name: norm / world_size() for name, norm in norms.items()}
        return dict(zip(totals, means, strict=True)) | norms

    def _micro_batches(self, *tensors: Tensor) -> list[MicroBatch]:
        """Split the batch into the samples of each pass."""
        passes = self.config.batch_size // self.config.images_per_pass
        if passes == 1:
            return [MicroBatch(*tensors)]
        return [MicroBatch(*row) for row in zip(*(t.chunk(passes) for t in tensors), strict=True)]
