"""Adapting a generator to a few images without a discriminator: batch statistics adaptation (BSA).

After Noguchi & Harada 2019 (arXiv 1904.01774), and their code (nogu-atsu on GitHub).
From there: only gamma, beta and one latent per image are trained; the sum of L1, feature, gamma-beta and
earth-mover terms, and the default weights of the last two; a little noise on latents; Adam, with a
learning rate of their own for latents, which begin at 0. Different here: features are those that scores
are measured in, where BSA compares ten layers of VGG; batch norm keeps the base's statistics, so that no
image depends on its batch; the generator that is kept is averaged.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bngan.averaging import ExponentialMovingAverage
from bngan.data import ImageSpec, ImageSplit, sample_order
from bngan.distributed import shard, world_size
from bngan.images import from_uint8
from bngan.latents import training_latents
from bngan.networks import ModelConfig, build_generator
from bngan.optimization import OptimizationConfig
from bngan.optimizers import (
    affine_parameters,
    build_optimizer,
    scheduled_factor,
    set_learning_rate,
    train_affine_only,
)
from bngan.randomness import Stream, derived_seed, generator
from bngan.steps import Means, descend, mean_over_steps, place

FeatureFunction = Callable[[Tensor], Tensor]
"""Images ``(N, C, H, W)`` in [-1, 1] to features ``(N, d)``, differentiable."""
_PRIOR_DRAWS = 10
"""Latents drawn to compare with, for each one that is trained, as BSA does."""


@dataclass
class SupervisedConfig:
    """Weights of what the supervised method adds to the mean absolute difference of pixels."""

    feature_weight: float = 0.1
    """Of the squared difference of features, relative to the length of the real image's; 0 for none,
    as it must be with Inception, which has no gradient here."""
    affine_weight: float = 0.02
    """Of the mean squared distance of gamma and beta from the base's (BSA: 0.02)."""
    latent_weight: float = 0.1
    """Of the distance of the images' latents from N(0, 1) (BSA: 0.1)."""
    latent_noise: float = 0.01
    """Standard deviation of the noise on latents (BSA: 0.01)."""
    latent_lr: float = 0.05
    """Learning rate of latents, on the schedule of the others (BSA: 0.05)."""


SUPERVISION = tuple(field.name for field in fields(SupervisedConfig))
"""Names of everything there."""


class SupervisedTrainer:
    """A generator whose gamma and beta are trained, together with a latent for each image.

    The trajectory is a function of (configuration, data, seed) and does not depend on the number of
    workers. Batch norm keeps the statistics it comes with.

    Args:
        count: of training images, mirrored ones included.
        initial: the base's parameters and buffers.
        features: what the feature term compares images by.

    Attributes: see ``bngan.steps.Training``.

    Raises ``ValueError`` for micro-batches: latents are compared with N(0, 1) by the whole batch.
    """

    keeps_statistics = True

    def __init__(
        self,
        model: ModelConfig,
        optimization: OptimizationConfig,
        supervision: SupervisedConfig,
        images: ImageSpec,
        count: int,
        seed: int,
        initial: Mapping[str, Tensor],
        features: FeatureFunction,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if optimization.micro_batch not in (None, optimization.batch_size):
            raise ValueError("micro_batch does not go with the supervised method")
        self.model, self.config, self.images, self.seed = model, optimization, images, seed
        self.supervision, self.features = supervision, features
        self.device, self.dtype = torch.device(device), dtype
        network = build_generator(model, images)
        network.load_state_dict(initial)
        self.generator = place(network, self.device, dtype).eval()
        self.ema = ExponentialMovingAverage(self.generator, optimization.ema_half_life)
        train_affine_only(self.generator)
        self.affine = list(affine_parameters(self.generator))
        self.start = [p.detach().clone() for p in self.affine]
        latents = torch.zeros(count, model.latent_dim, dtype=dtype, device=self.device)
        self.latents = nn.Embedding(count, model.latent_dim, _weight=latents)
        self.optimizer = build_optimizer(self.generator, optimization, optimization.lr)
        self.optimizer_z = build_optimizer(self.latents, optimization, supervision.latent_lr)
        self.images_seen = self.rollbacks = 0
        self._part = shard(optimization.batch_size)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Generator and latents."""
        return {"generator": self.generator, "latents": self.latents}

    def step(self, order: np.ndarray, real: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """One update of gamma, beta and latents, on this worker's part of the global batch.

        Args:
            order: which images of the data set the global batch is made of, ``(B,)``.
            real: this worker's part of them, ``(n, C, H, W)`` in [-1, 1].
            labels: int64 ``(n,)`` for a conditional model.

        Returns:
            This worker's share of the batch means, on the device: sum them over workers.
        """
        factor = scheduled_factor(self.config, self.images_seen)
        for optimizer in (self.optimizer, self.optimizer_z):
            set_learning_rate(optimizer, factor * self.config.rollback_lr_factor**self.rollbacks)
        noise, prior = self._draws()
        chosen = torch.from_numpy(order).to(self.device)
        latents: Tensor = self.latents(chosen) + self.supervision.latent_noise * noise
        terms = self._image_terms(latents[self._part], real, labels)
        terms["loss_latents"] = self._latent_term(latents, prior)
        terms["loss_affine"] = self._affine_term() / world_size()
        weights = self.supervision
        value = (
            terms["loss_pixels"]
            + weights.feature_weight * terms["loss_features"]
            + weights.latent_weight * terms["loss_latents"]
            + weights.affine_weight * terms["loss_affine"]
        )
        value.backward()  # type: ignore[no-untyped-call]
        norm = descend(self.optimizer, self.generator)
        descend(self.optimizer_z, self.latents)
        self.images_seen += self.config.batch_size
        self.ema.update(self.generator, self.config.batch_size, self.images_seen)
        means = {"loss_g": value, **terms, "gradient_norm_g": norm / world_size()}
        return {name: mean.detach() for name, mean in means.items()}

    def _draws(self) -> tuple[Tensor, Tensor]:
        """Noise of the batch's latents ``(B, d)``, and draws of N(0, 1) that they are compared with."""
        batch, dim = self.config.batch_size, self.model.latent_dim
        step = self.images_seen // batch
        seed = derived_seed(self.seed, self.rollbacks) if self.rollbacks else self.seed
        random = generator(seed, Stream.PRIOR, step)
        prior = random.standard_normal((_PRIOR_DRAWS * batch, dim), dtype=np.float32)
        noise = training_latents(seed, step, batch, dim)
        return tuple(  # type: ignore[return-value]
            values.to(self.device, self.dtype) for values in (noise, torch.from_numpy(prior))
        )

    def _image_terms(
        self, latents: Tensor, real: Tensor, labels: Tensor | None
    ) -> dict[str, Tensor]:
        bfloat16 = self.config.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            fake: Tensor = self.generator(latents, labels)
        fake, share = fake.to(self.dtype), 1 / self.config.batch_size
        terms = {"loss_pixels": (fake - real).abs().flatten(1).mean(1).sum() * share}
        terms["loss_features"] = terms["loss_pixels"].new_zeros(())
        if self.supervision.feature_weight:
            theirs = self.features(real).detach()
            difference = (self.features(fake) - theirs).square().sum(1)
            relative = difference / theirs.square().sum(1).clamp_min(1e-6)
            terms["loss_features"] = relative.sum().to(self.dtype) * share
        return terms

    def _latent_term(self, latents: Tensor, prior: Tensor) -> Tensor:
        """Squared distance of each latent to the nearest draw of N(0, 1), and of each draw to the nearest.

        BSA's stand-in for the earth mover's distance: both means, summed.
        """
        mine = _squared_distances(latents[self._part], prior).amin(1)
        own = prior[shard(len(prior))]
        theirs = _squared_distances(own, latents).amin(1)
        return mine.sum() / len(latents) + theirs.sum() / len(prior)

    def _affine_term(self) -> Tensor:
        squares = [
            (now - start).square().sum() for now, start in zip(self.affine, self.start, strict=True)
        ]
        return torch.stack(squares).sum() / sum(start.numel() for start in self.start)

    def fit(self, data: ImageSplit, until: int) -> Means:
        """Train until at least ``until`` images have been seen. See ``bngan.steps.Training``."""
        return mean_over_steps(self._steps(data, until))

    def _steps(self, data: ImageSplit, until: int) -> Iterator[dict[str, Tensor]]:
        while self.images_seen < until:
            order = sample_order(self.seed, self.images_seen, self.config.batch_size, len(data))
            images, classes = data.take(order[self._part])
            real = from_uint8(images, self.device).to(self.dtype)
            labels = torch.from_numpy(classes).to(self.device)
            yield self.step(order, real, labels if self.model.conditional else None)

    def passed(self, cadence: int) -> bool:
        """Whether the last step took ``images_seen`` past a multiple of ``cadence``."""
        return self.images_seen % cadence < self.config.batch_size

    def state_dict(self) -> dict[str, Any]:
        """Everything the next step depends on, the images' latents too."""
        return {
            "generator": self.generator.state_dict(),
            "latents": self.latents.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "optimizer_z": self.optimizer_z.state_dict(),
            "images_seen": self.images_seen,
            "rollbacks": self.rollbacks,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``. Raises ``RuntimeError`` if it is of other networks or images."""
        self.generator.load_state_dict(state["generator"])
        self.latents.load_state_dict(state["latents"])
        self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.optimizer_z.load_state_dict(state["optimizer_z"])
        self.images_seen, self.rollbacks = int(state["images_seen"]), int(state["rollbacks"])

    def roll_back(self, state: Mapping[str, Any]) -> None:
        """Go back to an earlier ``state``, and on from there with other noise."""
        rollbacks = self.rollbacks + 1
        self.load_state_dict(state)
        self.rollbacks = rollbacks
        for network in self.networks.values():
            network.zero_grad(set_to_none=True)


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Of each row of ``a`` ``(N, d)`` to each of ``b`` ``(M, d)``: ``(N, M)``."""
    lengths = a.square().sum(1, keepdim=True) + b.square().sum(1)
    return torch.addmm(lengths, a, b.T, alpha=-2)
