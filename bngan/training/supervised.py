"""Adapting a generator to a few images without a discriminator: batch statistics adaptation (BSA).

After Noguchi & Harada 2019 (arXiv 1904.01774), as their code has it (nogu-atsu on GitHub).

From there: gamma, beta and one latent per image are all that is trained; the loss is the sum of L1, a
feature term, the mean squared distance of gamma and beta from the base's, and a term that keeps latents
like N(0, 1); latents have a little noise, and a learning rate of their own.

Different here:

* Features are those that scores are measured in, where BSA compares ten layers of VGG.
* Latents begin at the draws from N(0, 1) of which the base makes what is least unlike the images, where
  BSA begins at 0, and learn more slowly, with more noise.
* Latents are kept as long as N(0, 1) makes them. BSA takes the squared distance to the nearest of some
  draws and back, which in many dimensions is least for latents near 0: it then samples near 0 as well.
* Batch norm keeps the base's statistics, so that no image depends on its batch; the generator that is
  kept is averaged.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bngan.data.dataset import ImageSplit, sample_order
from bngan.data.images import from_uint8
from bngan.distributed.collectives import broadcast_module, shard, world_size
from bngan.networks.config import ModelConfig
from bngan.networks.factory import build_generator
from bngan.networks.norms import affine_parameters
from bngan.numerics.precision import exact_convolutions, flushing_subnormals
from bngan.numerics.rng import Stream, derived_seed, generator
from bngan.training.base import AveragedMetrics, descend, mean_over_steps, place
from bngan.training.config import OptimizationConfig
from bngan.training.ema import ExponentialMovingAverage
from bngan.training.noise import in_blocks, training_latents
from bngan.training.optimizers import (
    build_optimizer,
    load_optimizer,
    scheduled_factor,
    set_learning_rate,
    train_affine_only,
)

FeatureFunction = Callable[[Tensor], Tensor]
"""Images ``(N, C, H, W)`` in [-1, 1] to features ``(N, d)``, differentiable."""
_DRAWS = 2_000
"""Latents drawn from N(0, 1) among which each image finds the one that it begins with."""
_CHUNK = 100


@dataclass
class SupervisedConfig:
    """Weights of what the supervised method adds to the mean absolute difference of pixels."""

    feature_weight: float = 0.1
    """Of the squared difference of features, relative to the squared length of the real image's; 0 for
    none, as it must be with Inception, which has no gradient here."""
    affine_weight: float = 0.02
    """Of the mean squared distance of gamma and beta from the base's (BSA: 0.02)."""
    latent_weight: float = 0.1
    """Of (|z|^2 / d - 1)^2, by which latents of d numbers are to be as long as N(0, 1) makes them."""
    latent_noise: float = 0.3
    """Standard deviation of the noise on latents (BSA: 0.01)."""
    latent_lr: float = 1e-3
    """Learning rate of latents, on the schedule of the others (BSA: 0.05)."""


SUPERVISION = tuple(field.name for field in fields(SupervisedConfig))
"""Names of everything there."""


class _Seen(NamedTuple):
    """Images ``(n, C, H, W)`` and their features ``(n, d)``; d is 0 where features do not count."""

    images: Tensor
    features: Tensor


class SupervisedTrainer:
    """A generator whose gamma and beta are trained, together with a latent for each image.

    The trajectory is a function of (configuration, data, seed) and does not depend on the number of
    workers. Batch norm keeps the statistics it comes with.

    Args:
        data: the training images.
        initial: the base's parameters and buffers.
        features: what the feature term compares images by.

    Attributes: see ``bngan.steps.Training``.

    Raises ``ValueError`` for micro-batches, which there is no need of without batch statistics.
    """

    keeps_statistics = True

    def __init__(
        self,
        model: ModelConfig,
        optimization: OptimizationConfig,
        supervision: SupervisedConfig,
        data: ImageSplit,
        seed: int,
        initial: Mapping[str, Tensor],
        features: FeatureFunction,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if optimization.micro_batch not in (None, optimization.batch_size):
            raise ValueError("micro_batch does not go with the supervised method")
        self.model, self.config, self.images, self.seed = model, optimization, data.spec, seed
        self.supervision, self.features = supervision, features
        self.device, self.dtype = torch.device(device), dtype
        network = build_generator(model, data.spec)
        network.load_state_dict(initial)
        self.generator = place(network, self.device, dtype).eval()
        self.ema = ExponentialMovingAverage(self.generator, optimization.ema_half_life)
        train_affine_only(self.generator)
        self.affine = list(affine_parameters(self.generator))
        self.start = [p.detach().clone() for p in self.affine]
        self.latents = nn.Embedding(len(data), model.latent_dim, _weight=self._nearest_draws(data))
        broadcast_module(self.latents)
        self.optimizer = build_optimizer(self.generator, optimization, optimization.lr)
        self.optimizer_z = build_optimizer(self.latents, optimization, supervision.latent_lr)
        self.images_seen = self.rollbacks = 0
        self._rows = np.arange(optimization.batch_size)[shard(optimization.batch_size)]
        self._blocks = in_blocks(self._rows)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Generator and latents."""
        return {"generator": self.generator, "latents": self.latents}

    @exact_convolutions()
    @flushing_subnormals()
    def step(self, order: np.ndarray, real: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """One update of gamma, beta and latents, on this worker's part of the global batch.

        Args:
            order: which images of the data set that is, ``(n,)``.
            real: the images, ``(n, C, H, W)`` in [-1, 1].
            labels: int64 ``(n,)`` for a conditional model.

        Returns:
            This worker's share of the batch means, on the device: sum them over workers.
        """
        factor = scheduled_factor(self.config, self.images_seen)
        for optimizer in (self.optimizer, self.optimizer_z):
            set_learning_rate(optimizer, factor * self.config.rollback_lr_factor**self.rollbacks)
        latents: Tensor = self.latents(torch.from_numpy(order).to(self.device))
        noise = self._noise().to(self.device, self.dtype)
        share = 1 / self.config.batch_size
        fake = self._generate(latents + self.supervision.latent_noise * noise, labels)
        with torch.no_grad():
            original = self._seen(real)
        pixels, features = _differences(self._seen(fake), original)
        terms = {"loss_pixels": pixels.sum() * share, "loss_features": features.sum() * share}
        terms["loss_latents"] = _strangeness(latents).sum() * share
        terms["loss_affine"] = self._affine_term() / world_size()
        weights = self.supervision
        value = (
            terms["loss_pixels"]
            + weights.feature_weight * terms["loss_features"]
            + weights.latent_weight * terms["loss_latents"]
            + weights.affine_weight * terms["loss_affine"]
        )
        value.backward()  # type: ignore[no-untyped-call]
        norm = descend(self.optimizer, "generator")
        descend(self.optimizer_z, "latents")
        self.images_seen += self.config.batch_size
        self.ema.update(self.config.batch_size, self.images_seen)
        means = {"loss_g": value, **terms, "gradient_norm_g": norm / world_size()}
        return {name: mean.detach() for name, mean in means.items()}

    def _noise(self) -> Tensor:
        """N(0, 1) for this worker's part of the batch at the present step, ``(n, d)``."""
        step = self.images_seen // self.config.batch_size
        seed = derived_seed(self.seed, self.rollbacks) if self.rollbacks else self.seed
        return training_latents(seed, step, self._blocks, self.model.latent_dim)

    def _generate(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        bfloat16 = self.config.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            fake: Tensor = self.generator(latents, labels)
        return fake.to(self.dtype)

    def _seen(self, images: Tensor) -> _Seen:
        if not self.supervision.feature_weight:
            return _Seen(images, images.new_zeros(len(images), 0))
        return _Seen(images, self.features(images).to(self.dtype))

    @torch.no_grad()
    def _nearest_draws(self, data: ImageSplit) -> Tensor:
        """For each image the one of so many latents of which the base makes what is least unlike it."""
        random = generator(self.seed, Stream.PRIOR)
        drawn = random.standard_normal((_DRAWS, self.model.latent_dim), dtype=np.float32)
        draws = torch.from_numpy(drawn).to(self.device, self.dtype)
        images, classes = data.take(np.arange(len(data)))
        classes = classes if self.model.conditional else np.zeros_like(classes)
        found = draws.new_empty(len(data), self.model.latent_dim)
        for label in np.unique(classes):
            fakes = self._drawn(draws, int(label) if self.model.conditional else None)
            for index in np.flatnonzero(classes == label):
                real = from_uint8(images[index : index + 1], self.device).to(self.dtype)
                pixels, features = _differences(fakes, self._seen(real))
                unlike = pixels + self.supervision.feature_weight * features
                found[index] = draws[unlike.argmin()]
        return found

    def _drawn(self, draws: Tensor, label: int | None) -> _Seen:
        parts = []
        for part in torch.split(draws, _CHUNK):
            labels = None if label is None else torch.full((len(part),), label, device=self.device)
            parts.append(self._seen(self._generate(part, labels)))
        return _Seen(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _affine_term(self) -> Tensor:
        squares = [
            (now - start).square().sum() for now, start in zip(self.affine, self.start, strict=True)
        ]
        return torch.stack(squares).sum() / sum(start.numel() for start in self.start)

    def fit(self, data: ImageSplit, until: int) -> AveragedMetrics:
        """Train until at least ``until`` images have been seen. See ``bngan.steps.Training``."""
        return mean_over_steps(self._steps(data, until))

    def _steps(self, data: ImageSplit, until: int) -> Iterator[dict[str, Tensor]]:
        while self.images_seen < until:
            order = sample_order(self.seed, self.images_seen + self._rows, len(data))
            images, classes = data.take(order)
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
        load_optimizer(self.optimizer, state["optimizer"])
        load_optimizer(self.optimizer_z, state["optimizer_z"])
        self.images_seen, self.rollbacks = int(state["images_seen"]), int(state["rollbacks"])

    def roll_back(self, state: Mapping[str, Any]) -> None:
        """Go back to an earlier ``state``, and on from there with other noise."""
        rollbacks = self.rollbacks + 1
        self.load_state_dict(state)
        self.rollbacks = rollbacks
        for network in self.networks.values():
            network.zero_grad(set_to_none=True)


def _strangeness(latents: Tensor) -> Tensor:
    """How far latents ``(n, d)`` are from as long as N(0, 1) makes them, ``(n,)``."""
    return (latents.square().mean(1) - 1).square()


def _differences(fakes: _Seen, real: _Seen) -> tuple[Tensor, Tensor]:
    """Of images from their originals, or from one: in pixels, and in features relative to its own."""
    pixels = (fakes.images - real.images).abs().flatten(1).mean(1)
    squares = (fakes.features - real.features).square().sum(1)
    return pixels, squares / real.features.square().sum(1).clamp_min(1e-6)
