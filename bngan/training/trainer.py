"""Adversarial trainer: one step of a discriminator and a generator against each other."""

from collections.abc import Mapping

import torch
from torch import Tensor

from bngan.batchnorm.layer import group_sizes, groups_are_whole
from bngan.data.dataset import ImageSpec
from bngan.distributed.collectives import world_size
from bngan.networks.config import ModelConfig
from bngan.networks.factory import build_discriminator, build_generator
from bngan.networks.norms import iterate_spectral_norms
from bngan.numerics.precision import exact_convolutions, flushing_subnormals
from bngan.serialization.problem import ConfigurationError
from bngan.training.base import (
    BaseTrainer,
    Batch,
    accumulate,
    all_reduce_and_step,
    to_training_device,
)
from bngan.training.config import OptimizationConfig, optimizer_errors
from bngan.training.ema import ExponentialMovingAverage
from bngan.training.noise import augmentation_draws, mixture_weights, training_latents
from bngan.training.objective import AdversarialObjective, MicroBatch, NormGroups
from bngan.training.optimizers import build_optimizer, optimized_parameters, train_affine_only


class Trainer(BaseTrainer):
    """Train a generator against a discriminator.

    Args:
        initial: the generator's parameters and buffers to begin with; None: random ones.

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
    ) -> None:
        if problem := next(optimizer_errors(model, optimization), None):
            raise ConfigurationError(problem)
        super().__init__(model, optimization, images, seed, device, dtype)
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
        per_pass, norm_batch = optimization.images_per_pass, optimization.norm_batch
        sizes = group_sizes(range(self._mine.start, self._mine.stop), per_pass, norm_batch)
        groups = NormGroups(sizes, groups_are_whole(per_pass, norm_batch))
        self.objective = AdversarialObjective(
            self.generator, self.discriminator, model, optimization, groups, self.device
        )

    def train_on_batch(self, batch: Batch) -> dict[str, Tensor]:
        """Take one training step. See ``step``."""
        return self.step(batch.real, batch.labels)

    @exact_convolutions()
    @flushing_subnormals()
    def step(self, real: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Update D, then G if it is its turn, on this worker's slice of the global batch.

        Fakes have the labels of the real images. Without micro-batches one fake batch serves both
        updates: D sees it detached, and the updated D judges it for G.

        Args:
            real: ``(n, C, H, W)`` in [-1, 1].
            labels: int64 ``(n,)`` for a conditional model.

        Returns:
            This worker's share of the batch means, on the device: sum them over workers.
        """
        config, objective = self.config, self.objective
        micro_batches = self._micro_batches(real, labels)
        self._set_learning_rates()
        for layers in objective.parametrized.values():
            iterate_spectral_norms(layers)
        penalized = config.penalty != "none" and self.steps_done % config.penalty_every == 0
        generators_turn = (self.steps_done + 1) % config.discriminator_steps == 0
        reuse = generators_turn and len(micro_batches) == 1
        totals: dict[str, Tensor] = {}

        # Update D
        fakes = []
        for micro_batch in micro_batches:
            with torch.set_grad_enabled(reuse):
                fake = objective.generate(micro_batch, track=reuse)
            accumulate(totals, objective.backward_discriminator(micro_batch, fake, penalized))
            fakes.append(fake)
        norms = {"gradient_norm_d": all_reduce_and_step(self.optimizer_d, "discriminator")}

        # Update G
        if generators_turn:
            parameters = optimized_parameters(self.optimizer_g)
            for micro_batch, fake in zip(micro_batches, fakes, strict=True):
                again = fake if reuse else objective.generate(micro_batch, track=True)
                accumulate(totals, objective.backward_generator(micro_batch, again, parameters))
            norms["gradient_norm_g"] = all_reduce_and_step(self.optimizer_g, "generator")

        self._finish_step()
        means = {name: value / config.batch_size for name, value in totals.items()}
        return means | {name: value / world_size() for name, value in norms.items()}

    def _micro_batches(self, real: Tensor, labels: Tensor | None) -> list[MicroBatch]:
        """Return this worker's slice of the batch and its noise at the present step, by pass."""
        seed, step, blocks = self.noise_seed, self.steps_done, self._noise_blocks
        unused = torch.empty(len(self._rows), 0)
        mixed, augmented = self.config.penalty == "gradient_penalty", bool(self.config.augment)
        noise = (
            training_latents(seed, step, blocks, self.model.latent_dim),
            mixture_weights(seed, step, blocks) if mixed else unused,
            augmentation_draws(seed, step, blocks) if augmented else unused,
        )
        mine = [values.to(self.device, self.dtype) for values in noise]
        passes = self.config.batch_size // self.config.images_per_pass
        columns = [values.chunk(passes) for values in (real, *mine)]
        classes = [None] * passes if labels is None else labels.chunk(passes)
        return [MicroBatch(*row) for row in zip(*columns, classes, strict=True)]
