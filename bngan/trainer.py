"""One adversarial step, and the loop around it. Reads the same on one worker and on many."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bngan.averaging import ExponentialMovingAverage
from bngan.data import ImageSpec, ImageSplit, sample_order
from bngan.distributed import all_reduce_sum, broadcast_module, shard, sum_gradients
from bngan.images import from_uint8
from bngan.latents import mixture_weights, training_latents
from bngan.losses import LOSSES
from bngan.networks import ModelConfig, build_discriminator, build_generator
from bngan.normalization import batch_layout, group_sizes, synchronize
from bngan.optimization import OptimizationConfig, batch_problem
from bngan.penalties import PENALTIES, Judged
from bngan.randomness import derived_seed


class _MicroBatch(NamedTuple):
    """This worker's samples of one pass through the networks."""

    real: Tensor
    latents: Tensor
    mixture: Tensor
    labels: Tensor | None


class NotFinite(Exception):
    """Numbers that are not finite; raised on every worker alike. The trainer's state is spoilt."""


class Trainer:
    """Generator, discriminator, their optimisers and the averaged generator.

    The trajectory is a function of (configuration, data, seed) and does not depend on the number of
    workers: noise and sample order are functions of the images seen, batch norm and gradients are
    those of the global batch.

    Attributes:
        images_seen: real images the discriminator has been shown.
        rollbacks: how often training was taken back to an earlier state; each time the noise is new.
        ema: the averaged generator; calibrate a copy of its module before use.

    Raises ``ValueError`` if the batch does not fall into micro-batches and groups as asked for.
    """

    def __init__(
        self,
        model: ModelConfig,
        optimization: OptimizationConfig,
        images: ImageSpec,
        seed: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.model, self.config, self.images, self.seed = model, optimization, images, seed
        self.device, self.dtype = torch.device(device), dtype
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            generator = build_generator(model, images)
            discriminator = build_discriminator(model, images)
        self.generator = self._place(generator)
        self.discriminator = self._place(discriminator)
        self.ema = ExponentialMovingAverage(self.generator, optimization.ema_half_life)
        betas = (optimization.beta1, optimization.beta2)
        self.optimizer_g = torch.optim.Adam(self.generator.parameters(), optimization.lr, betas)
        self.optimizer_d = torch.optim.Adam(self.discriminator.parameters(), optimization.lr, betas)
        self.images_seen = self.rollbacks = 0
        if problem := batch_problem(model, optimization):
            raise ValueError(problem)
        micro = optimization.micro_batch or optimization.batch_size
        part = shard(micro)
        self._passes = optimization.batch_size // micro
        self._groups = group_sizes(range(part.start, part.stop), micro, optimization.norm_batch)
        every = np.arange(optimization.batch_size).reshape(self._passes, micro)
        self._indices = every[:, part].flatten()
        self._spectral = [
            cast(nn.Module, module.parametrizations)
            for module in self.discriminator.modules()
            if parametrize.is_parametrized(module)
        ]

    def _place(self, network: nn.Module) -> nn.Module:
        network = synchronize(network).to(self.device, self.dtype).train()
        broadcast_module(network)
        return network

    def step(self, real: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """One update of D, then of G, on this worker's part of the global batch.

        Fakes have the labels of the real images. Without micro-batches the fake batch serves both
        updates: D sees it detached, G is judged on it by the updated D.

        Args:
            real: ``(n, C, H, W)`` in [-1, 1].
            labels: int64 ``(n,)`` for a conditional model.

        Returns:
            This worker's share of the batch means, on the device: sum them over workers.
        """
        parts = self._split(real, labels)
        whole = len(parts) == 1
        totals: dict[str, Tensor] = {}
        fakes = []
        for part in parts:
            with torch.set_grad_enabled(whole):
                fakes.append(self._generate(part, track=whole))
            with self._still(part is not parts[0]):
                _add(totals, self._discriminate(part, fakes[-1].detach()))
        _descend(self.optimizer_d, self.discriminator)

        self.discriminator.requires_grad_(False)
        for part, fake in zip(parts, fakes, strict=True):
            _add(totals, self._fool(part, fake if whole else self._generate(part)))
        _descend(self.optimizer_g, self.generator)
        self.discriminator.requires_grad_(True)

        self.images_seen += self.config.batch_size
        self.ema.update(self.generator, self.config.batch_size, self.images_seen)
        return {name: value / self.config.batch_size for name, value in totals.items()}

    def _split(self, real: Tensor, labels: Tensor | None) -> list[_MicroBatch]:
        """This worker's part of the batch at the present step, with its noise, pass by pass."""
        batch = self.config.batch_size
        step = self.images_seen // batch
        seed = derived_seed(self.seed, self.rollbacks) if self.rollbacks else self.seed
        latents = training_latents(seed, step, batch, self.model.latent_dim)
        mixture = mixture_weights(seed, step, batch)
        latents, mixture = (
            noise[self._indices].to(self.device, self.dtype) for noise in (latents, mixture)
        )

        def passes(values: Tensor) -> Tensor:
            return values.view(self._passes, len(self._indices) // self._passes, *values.shape[1:])

        columns = passes(real), passes(latents), passes(mixture)
        classes = [None] * self._passes if labels is None else passes(labels)
        return [_MicroBatch(*row) for row in zip(*columns, classes, strict=True)]

    def _generate(self, part: _MicroBatch, track: bool = True) -> Tensor:
        with batch_layout(self._groups, track=track):
            fake: Tensor = self.generator(part.latents, part.labels)
        return fake

    def _judge(self, part: _MicroBatch, *batches: Tensor, track: bool = False) -> list[Tensor]:
        """Logits ``(n,)`` of batches that belong to one pass, in one forward.

        Each batch is normalised with its own statistics, or all are together (``joint``).
        """
        sizes = self._groups * len(batches)
        if self.model.discriminator.batch_statistics == "joint":
            sizes = [sum(sizes)]
        labels = None if part.labels is None else part.labels.repeat(len(batches))
        with batch_layout(sizes, track=track):
            logits: Tensor = self.discriminator(torch.cat(batches), labels)
        return list(logits.view(len(batches), len(part.real)))

    def _discriminate(self, part: _MicroBatch, fake: Tensor) -> dict[str, Tensor]:
        """Add the gradients of D's loss, and return sums of what was seen."""
        config, loss = self.config, LOSSES[self.config.loss]
        step = self.images_seen // config.batch_size
        penalized = config.penalty != "none" and step % config.penalty_every == 0
        real = part.real.requires_grad_(penalized)
        fake.requires_grad_(penalized)
        real_logits, fake_logits = self._judge(part, real, fake, track=True)
        value = (loss.discriminator_real(real_logits) + loss.discriminator_fake(fake_logits)).sum()
        sums = {"loss_d": value, "logit_real": real_logits.sum(), "logit_fake": fake_logits.sum()}
        if penalized:
            penalty = PENALTIES[config.penalty](
                Judged(real, real_logits),
                Judged(fake, fake_logits),
                lambda: self._judge_mixture(part, fake),
            ).sum()
            value = value + config.penalty_weight * config.penalty_every * penalty
            sums["penalty"] = penalty
        (value / config.batch_size).backward()  # type: ignore[no-untyped-call]
        return {name: total.detach() for name, total in sums.items()}

    def _judge_mixture(self, part: _MicroBatch, fake: Tensor) -> Judged:
        mixed = torch.lerp(fake.detach(), part.real.detach(), part.mixture).requires_grad_()
        with self._still():
            (logits,) = self._judge(part, mixed)
        return Judged(mixed, logits)

    def _fool(self, part: _MicroBatch, fake: Tensor) -> dict[str, Tensor]:
        """Add the gradients of G's loss, and return its sum."""
        joint = self.model.discriminator.batch_statistics == "joint"
        with self._still():
            *_, logits = self._judge(part, *([part.real.detach()] if joint else []), fake)
        value = LOSSES[self.config.loss].generator(logits).sum()
        (value / self.config.batch_size).backward()  # type: ignore[no-untyped-call]
        return {"loss_g": value.detach()}

    @contextmanager
    def _still(self, still: bool = True) -> Iterator[None]:
        """Inside, D's spectral norms do not iterate: they do once a step, in D's first pass."""
        for parametrization in self._spectral:
            parametrization.train(not still)
        try:
            yield
        finally:
            for parametrization in self._spectral:
                parametrization.train()

    def fit(self, data: ImageSplit, until: int) -> dict[str, float]:
        """Train until at least ``until`` images have been seen: means over the global batches.

        The penalty's mean is over the steps that had one.

        Raises:
            NotFinite: on every worker, before the optimiser's step. See ``roll_back``.
        """
        totals, steps = dict[str, Tensor](), Counter[str]()
        while self.images_seen < until:
            order = sample_order(self.seed, self.images_seen, self.config.batch_size, len(data))
            order = order[self._indices]
            real = from_uint8(data.images[order], self.device).to(self.dtype)
            labels = torch.from_numpy(data.labels[order]).to(self.device)
            seen = self.step(real, labels if self.model.conditional else None)
            _add(totals, seen)
            steps.update(seen.keys())
        if not totals:
            return {}
        sums = all_reduce_sum(torch.stack(list(totals.values()))).tolist()
        return {name: total / steps[name] for name, total in zip(totals, sums, strict=True)}

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
        self.optimizer_g.load_state_dict(state["optimizer_g"])
        self.optimizer_d.load_state_dict(state["optimizer_d"])
        self.images_seen, self.rollbacks = int(state["images_seen"]), int(state["rollbacks"])
        self._set_learning_rate()

    def roll_back(self, state: Mapping[str, Any]) -> None:
        """Go back to an earlier ``state``, parameters and buffers, and on from there with other noise.

        Learning rates are multiplied by ``rollback_lr_factor``, each time anew.
        """
        rollbacks = self.rollbacks + 1
        self.load_state_dict(state)
        self.rollbacks = rollbacks
        self._set_learning_rate()
        for network in (self.generator, self.discriminator):
            network.requires_grad_(True).zero_grad(set_to_none=True)

    def _set_learning_rate(self) -> None:
        for optimizer in (self.optimizer_g, self.optimizer_d):
            for group in optimizer.param_groups:
                group["lr"] = self.config.lr * self.config.rollback_lr_factor**self.rollbacks


def _add(totals: dict[str, Tensor], more: Mapping[str, Tensor]) -> None:
    for name, value in more.items():
        totals[name] = totals[name] + value if name in totals else value


def _descend(optimizer: torch.optim.Optimizer, network: nn.Module) -> None:
    """One step along the accumulated gradients, summed over workers."""
    sum_gradients(network.parameters())
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    # A sum over workers is not finite on any of them if it is not on one: they all stop here.
    if not bool(torch.stack(torch._foreach_norm(gradients)).isfinite().all()):
        raise NotFinite(f"gradients of the {type(network).__name__.lower()} are not finite")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
