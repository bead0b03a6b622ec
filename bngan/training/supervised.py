"""Supervised adaptation of a generator to a few images: batch statistics adaptation (BSA).

There is no discriminator. The method is that of Noguchi & Harada 2019 (arXiv 1904.01774), as their
code has it (nogu-atsu on GitHub).

Equal to BSA: training changes only gamma, beta and one latent per image. The loss is the sum of L1,
a feature term, the mean squared distance of gamma and beta from the base's, and a term that keeps
latents like N(0, 1). Latents have a little noise, and a learning rate of their own.

Different from BSA:

* Features are those that scores are measured in. BSA compares ten layers of VGG.
* Each latent begins at a draw from N(0, 1), the one whose image by the base is least unlike the
  training image. BSA begins at 0. Latents learn more slowly here, with more noise.
* Latents keep the length that N(0, 1) gives them. BSA takes the squared distance to the nearest of
  some draws and back. In many dimensions this distance is least for latents near 0, so BSA samples
  near 0 as well.
* Batch norm keeps the base's statistics, so that no image depends on its batch. The result is an
  averaged generator.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bngan.data.dataset import ImageSplit
from bngan.data.images import from_uint8
from bngan.distributed.collectives import broadcast_module, world_size
from bngan.networks.config import ModelConfig
from bngan.networks.factory import build_generator
from bngan.networks.norms import affine_parameters
from bngan.numerics.precision import exact_convolutions, flushing_subnormals
from bngan.numerics.rng import Stream, generator
from bngan.serialization.bounds import bounded
from bngan.training.base import BaseTrainer, to_training_device
from bngan.training.batches import Batch
from bngan.training.config import ExecutionConfig, OptimizationConfig
from bngan.training.ema import ExponentialMovingAverage
from bngan.training.noise import training_latents
from bngan.training.optimizers import build_optimizer, train_affine_only

FeatureFunction = Callable[[Tensor], Tensor]
"""Function from images ``(N, C, H, W)`` in [-1, 1] to features ``(N, d)``; differentiable."""
_DRAWS = 2_000
"""Number of latents drawn from N(0, 1); each image begins with one of them."""
_CHUNK = 100


@dataclass
class SupervisedConfig:
    """Settings of the supervised method; the mean absolute difference of pixels has weight 1."""

    feature_weight: float = bounded(0.1, ge=0)
    """Weight of the squared difference of features, relative to the squared length of the real
    image's features; 0: none. It must be 0 with Inception, which has no gradient here."""
    affine_weight: float = bounded(0.02, ge=0)
    """Weight of the mean squared distance of gamma and beta from the base's (BSA: 0.02)."""
    latent_weight: float = bounded(0.1, ge=0)
    """Weight of (|z|^2 / d - 1)^2, which keeps latents of d numbers as long as N(0, 1) makes
    them."""
    latent_noise: float = bounded(0.3, ge=0)
    """Standard deviation of the noise on latents (BSA: 0.01)."""
    latent_lr: float = bounded(1e-3, gt=0)
    """Learning rate of latents, with the schedule of the others (BSA: 0.05)."""


SUPERVISION = tuple(field.name for field in fields(SupervisedConfig))
"""Names of all fields of ``SupervisedConfig``."""


class _Seen(NamedTuple):
    """Images ``(n, C, H, W)`` and their features ``(n, d)``; d is 0 without a feature term."""

    images: Tensor
    features: Tensor


class SupervisedTrainer(BaseTrainer):
    """Train a generator's gamma and beta together with a latent for each image.

    Batch norm keeps the statistics of the base.

    Args:
        data: the training images.
        initial: the base's parameters and buffers.
        features: function from images to the features of the feature term.

    Raises ``ValueError`` for micro-batches, which have no use without batch statistics, and for
    compiled steps.
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
        execution: ExecutionConfig | None = None,
    ) -> None:
        if optimization.micro_batch not in (None, optimization.batch_size):
            raise ValueError("micro_batch does not go with the supervised method")
        if execution and execution.compile != "off":
            raise ValueError("compile does not go with the supervised method")
        super().__init__(model, optimization, data.spec, seed, device, dtype, execution)
        self.supervision, self.features = supervision, features
        network = build_generator(model, data.spec)
        network.load_state_dict(initial)
        self.generator = to_training_device(network, self.device, dtype).eval()
        self.ema = ExponentialMovingAverage(self.generator, optimization.ema_half_life)
        train_affine_only(self.generator)
        self.affine = list(affine_parameters(self.generator))
        self.start = [p.detach().clone() for p in self.affine]
        self.latents = nn.Embedding(len(data), model.latent_dim, _weight=self._nearest_draws(data))
        broadcast_module(self.latents)
        self.networks = {"generator": self.generator, "latents": self.latents}
        self.optimizers = {
            "optimizer": build_optimizer(self.generator, optimization, optimization.lr),
            "optimizer_z": build_optimizer(self.latents, optimization, supervision.latent_lr),
        }

    def draw_noise(self, step: int) -> tuple[Tensor, ...]:
        """Return N(0, 1) noise ``(n, latent_dim)`` on latents."""
        blocks, dim = self._noise_blocks, self.model.latent_dim
        return (training_latents(self.noise_seed, step, blocks, dim),)

    @exact_convolutions()
    @flushing_subnormals()
    def train_on_batch(self, batch: Batch) -> dict[str, Tensor]:
        """Update gamma, beta and latents on this worker's slice of the global batch.

        Returns:
            This worker's share of the batch means, on the device: sum them over workers.
        """
        self._set_learning_rates()
        latents: Tensor = self.latents(batch.indices)
        (noise,) = batch.noise
        share = 1 / self.config.batch_size
        fake = self._generate(latents + self.supervision.latent_noise * noise, batch.labels)
        with torch.no_grad():
            original = self._seen(batch.real)
        pixels, features = _differences(self._seen(fake), original)
        terms = {"loss_pixels": pixels.sum() * share, "loss_features": features.sum() * share}
        strangeness = (latents.square().mean(1) - 1).square()  # 0 for the length of N(0, 1)
        terms["loss_latents"] = strangeness.sum() * share
        terms["loss_affine"] = self._affine_term() / world_size()
        weights = self.supervision
        value = (
            terms["loss_pixels"]
            + weights.feature_weight * terms["loss_features"]
            + weights.latent_weight * terms["loss_latents"]
            + weights.affine_weight * terms["loss_affine"]
        )
        value.backward()  # type: ignore[no-untyped-call]
        norms = [self._step(optimizer) / world_size() for optimizer in self.optimizers.values()]
        self._finish_step()
        means = {"loss_g": value, **terms}
        means |= zip(("gradient_norm_g", "gradient_norm_z"), norms, strict=True)
        return {name: mean.detach() for name, mean in means.items()}

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
        """Return for each image the draw whose image by the base is least unlike it."""
        random = generator(self.seed, Stream.PRIOR)
        drawn = random.standard_normal((_DRAWS, self.model.latent_dim), dtype=np.float32)
        draws = torch.from_numpy(drawn).to(self.device, self.dtype)
        images, classes = data.take(np.arange(len(data)))
        classes = classes if self.model.conditional else np.zeros_like(classes)
        nearest = draws.new_empty(len(data), self.model.latent_dim)
        for label in np.unique(classes):
            fakes = self._drawn(draws, int(label) if self.model.conditional else None)
            for index in np.flatnonzero(classes == label):
                real = from_uint8(images[index : index + 1], self.device).to(self.dtype)
                pixels, features = _differences(fakes, self._seen(real))
                unlike = pixels + self.supervision.feature_weight * features
                nearest[index] = draws[unlike.argmin()]
        return nearest

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


def _differences(fakes: _Seen, real: _Seen) -> tuple[Tensor, Tensor]:
    """Return each fake's differences from its original, or from one original: pixels and features.

    The difference of features is relative to the original's own.
    """
    pixels = (fakes.images - real.images).abs().flatten(1).mean(1)
    squares = (fakes.features - real.features).square().sum(1)
    return pixels, squares / real.features.square().sum(1).clamp_min(1e-6)
