"""One adversarial step, and the loop around it. Reads the same on one worker and on many."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bngan.batchnorm.layer import group_sizes, groups_are_whole
from bngan.data.dataset import ImageSpec, ImageSplit, sample_order
from bngan.data.images import from_uint8
from bngan.distributed.collectives import shard, world_size
from bngan.networks.config import ModelConfig
from bngan.networks.factory import build_discriminator, build_generator
from bngan.networks.norms import iterate_spectral_norms
from bngan.numerics.precision import exact_convolutions, flushing_subnormals
from bngan.numerics.rng import derived_seed
from bngan.training.base import AveragedMetrics, add, descend, mean_over_steps, place
from bngan.training.base import NonFiniteError as NonFiniteError  # part of this interface
from bngan.training.config import OptimizationConfig, problems
from bngan.training.ema import ExponentialMovingAverage
from bngan.training.noise import (
    augmentation_draws,
    in_blocks,
    mixture_weights,
    training_latents,
)
from bngan.training.objective import AdversarialObjective, MicroBatch, NormGroups
from bngan.training.optimizers import (
    build_optimizer,
    load_optimizer,
    scheduled_factor,
    set_learning_rate,
    train_affine_only,
    trained,
)


class Trainer:
    """Generator, discriminator, their optimisers and the averaged generator.

    The trajectory is a function of (configuration, data, seed) and does not depend on the number of
    workers: noise and sample order are functions of the images seen, batch norm and gradients are
    those of the global batch.

    Args:
        initial: the generator's parameters and buffers to begin with; None: random ones.

    Attributes: see ``bngan.steps.Training``.

    Raises ``ValueError`` if the batch does not fall into micro-batches and groups as asked for.
    """

    keeps_statistics = False

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
        self.model, self.config, self.images, self.seed = model, optimization, images, seed
        self.device, self.dtype = torch.device(device), dtype
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            generator = build_generator(model, images)
            discriminator = build_discriminator(model, images)
        if initial is not None:
            generator.load_state_dict(initial)
        self.generator = place(generator, self.device, dtype)
        self.discriminator = place(discriminator, self.device, dtype)
        self.ema = ExponentialMovingAverage(self.generator, optimization.ema_half_life)
        if optimization.trainable == "affine":
            train_affine_only(self.generator)
        lr = optimization.lr
        lr_d = lr if optimization.lr_discriminator is None else optimization.lr_discriminator
        self.optimizer_g = build_optimizer(self.generator, optimization, lr)
        self.optimizer_d = build_optimizer(self.discriminator, optimization, lr_d)
        self.images_seen = self.rollbacks = 0
        if problem := next(problems(model, optimization), None):
            raise ValueError(problem)
        micro = optimization.images_per_pass
        part = shard(micro)
        self._passes = optimization.batch_size // micro
        groups = group_sizes(range(part.start, part.stop), micro, optimization.norm_batch)
        every = np.arange(optimization.batch_size).reshape(self._passes, micro)
        self._rows = every[:, part].flatten()
        self._blocks = in_blocks(self._rows)
        networks = self.generator, self.discriminator
        whole = groups_are_whole(micro, optimization.norm_batch)
        self.game = AdversarialObjective(
            *networks, model, optimization, NormGroups(groups, whole), self.device
        )

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Generator and discriminator."""
        return {"generator": self.generator, "discriminator": self.discriminator}

    @exact_convolutions()
    @flushing_subnormals()
    def step(self, real: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """One update of D, then of G if it is its turn, on this worker's part of the global batch.

        Fakes have the labels of the real images. Without micro-batches the fake batch serves both
        updates: D sees it detached, G is judged on it by the updated D.

        Args:
            real: ``(n, C, H, W)`` in [-1, 1].
            labels: int64 ``(n,)`` for a conditional model.

        Returns:
            This worker's share of the batch means, on the device: sum them over workers.
        """
        config, parts = self.config, self._split(real, labels)
        step = self.images_seen // config.batch_size
        self._set_learning_rate()
        for layers in self.game.parametrized.values():
            iterate_spectral_norms(layers)
        penalized = config.penalty != "none" and step % config.penalty_every == 0
        generators_turn = (step + 1) % config.discriminator_steps == 0
        reuse = generators_turn and len(parts) == 1
        totals: dict[str, Tensor] = {}
        fakes = []
        for part in parts:
            with torch.set_grad_enabled(reuse):
                fakes.append(self.game.generate(part, track=reuse))
            add(totals, self.game.backward_discriminator(part, fakes[-1], penalized))
        norms = {"gradient_norm_d": descend(self.optimizer_d, "discriminator")}
        if generators_turn:
            for part, fake in zip(parts, fakes, strict=True):
                again = fake if reuse else self.game.generate(part, track=True)
                add(totals, self.game.backward_generator(part, again, trained(self.optimizer_g)))
            norms["gradient_norm_g"] = descend(self.optimizer_g, "generator")

        self.images_seen += config.batch_size
        self.ema.update(config.batch_size, self.images_seen)
        means = {name: value / config.batch_size for name, value in totals.items()}
        return means | {name: value / world_size() for name, value in norms.items()}

    def _split(self, real: Tensor, labels: Tensor | None) -> list[MicroBatch]:
        """This worker's part of the batch at the present step, with its noise, pass by pass."""
        step, rows = self.images_seen // self.config.batch_size, self._blocks
        seed = derived_seed(self.seed, self.rollbacks) if self.rollbacks else self.seed
        unused = torch.empty(len(self._rows), 0)
        mixed, augmented = self.config.penalty == "gradient_penalty", bool(self.config.augment)
        noise = (
            training_latents(seed, step, rows, self.model.latent_dim),
            mixture_weights(seed, step, rows) if mixed else unused,
            augmentation_draws(seed, step, rows) if augmented else unused,
        )
        mine = [values.to(self.device, self.dtype) for values in noise]

        def passes(values: Tensor) -> Tensor:
            return values.view(self._passes, len(self._rows) // self._passes, *values.shape[1:])

        columns = [passes(values) for values in (real, *mine)]
        classes = [None] * self._passes if labels is None else passes(labels)
        return [MicroBatch(*row) for row in zip(*columns, classes, strict=True)]

    def fit(self, data: ImageSplit, until: int) -> AveragedMetrics:
        """Train until at least ``until`` images have been seen: means over the global batches.

        Each mean is over the steps that had such a value, as not all have a penalty.

        Raises:
            NonFiniteError: on every worker, before the optimiser's step. See ``roll_back``.
        """
        return mean_over_steps(self._steps(data, until))

    def _steps(self, data: ImageSplit, until: int) -> Iterator[dict[str, Tensor]]:
        while self.images_seen < until:
            order = sample_order(self.seed, self.images_seen + self._rows, len(data))
            images, classes = data.take(order)
            real = from_uint8(images, self.device).to(self.dtype)
            labels = torch.from_numpy(classes).to(self.device)
            yield self.step(real, labels if self.model.conditional else None)

    def passed(self, cadence: int) -> bool:
        """Whether the last step took ``images_seen`` past a multiple of ``cadence``."""
        return self.images_seen % cadence < self.config.batch_size

    def state_dict(self) -> dict[str, Any]:
        """Everything the next step depends on: tensors and plain numbers in nested dicts."""
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimizer_g": self.optimizer_g.state_dict(),
            "optimizer_d": self.optimizer_d.state_dict(),
            "images_seen": self.images_seen,
            "rollbacks": self.rollbacks,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``. Raises ``RuntimeError`` if it is of other networks."""
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.ema.module.load_state_dict(state["ema"])
        load_optimizer(self.optimizer_g, state["optimizer_g"])
        load_optimizer(self.optimizer_d, state["optimizer_d"])
        self.images_seen, self.rollbacks = int(state["images_seen"]), int(state["rollbacks"])

    def roll_back(self, state: Mapping[str, Any]) -> None:
        """Go back to an earlier ``state``, parameters and buffers, and on from there with other noise.

        Learning rates are multiplied by ``rollback_lr_factor``, each time anew.
        """
        rollbacks = self.rollbacks + 1
        self.load_state_dict(state)
        self.rollbacks = rollbacks
        for network in self.networks.values():
            network.zero_grad(set_to_none=True)

    def _set_learning_rate(self) -> None:
        factor = scheduled_factor(self.config, self.images_seen)
        for optimizer in (self.optimizer_g, self.optimizer_d):
            set_learning_rate(optimizer, factor * self.config.rollback_lr_factor**self.rollbacks)
