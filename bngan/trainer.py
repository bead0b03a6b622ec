"""One adversarial step, and the loop around it. Reads the same on one worker and on many."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bngan.averaging import ExponentialMovingAverage
from bngan.data import ImageSplit, sample_order
from bngan.distributed import all_reduce_sum, broadcast_module, shard, sum_gradients
from bngan.images import from_uint8
from bngan.latents import training_latents
from bngan.losses import LOSSES, LossName
from bngan.networks import ImageShape, ModelConfig, build_discriminator, build_generator
from bngan.normalization import synchronize


@dataclass
class OptimizationConfig:
    """What shapes the trajectory of training."""

    batch_size: int = 64
    """Global batch in images, however many workers share it."""
    loss: LossName = "non_saturating"
    """Adversarial loss: non_saturating or minimax (both Goodfellow et al. 2014)."""
    lr: float = 2e-4
    """Adam's learning rate, for both networks."""
    beta1: float = 0.5
    """Adam's first-moment decay."""
    beta2: float = 0.999
    """Adam's second-moment decay."""
    ema_half_life: float = 10_000
    """Half-life in images of the averaged generator, the one that is evaluated and served."""


class Trainer:
    """Generator, discriminator, their optimisers and the averaged generator.

    The trajectory is a function of (configuration, data, seed) and does not depend on the number of
    workers: noise and sample order are functions of the images seen, batch norm and gradients are
    those of the global batch.

    Attributes:
        images_seen: real images the discriminator has been shown.
        ema: the averaged generator; calibrate a copy of its module before use.
    """

    def __init__(
        self,
        model: ModelConfig,
        optimization: OptimizationConfig,
        image_shape: ImageShape,
        seed: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.model, self.config, self.seed = model, optimization, seed
        self.device, self.dtype = torch.device(device), dtype
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            generator = build_generator(model, image_shape)
            discriminator = build_discriminator(model, image_shape)
        self.generator = self._place(generator)
        self.discriminator = self._place(discriminator)
        self.ema = ExponentialMovingAverage(self.generator, optimization.ema_half_life)
        betas = (optimization.beta1, optimization.beta2)
        self.optimizer_g = torch.optim.Adam(self.generator.parameters(), optimization.lr, betas)
        self.optimizer_d = torch.optim.Adam(self.discriminator.parameters(), optimization.lr, betas)
        self.images_seen = 0

    def _place(self, network: nn.Module) -> nn.Module:
        network = synchronize(network).to(self.device, self.dtype).train()
        broadcast_module(network)
        return network

    def step(self, real: Tensor) -> dict[str, Tensor]:
        """One update of D, then of G, on this worker's shard ``(n, C, H, W)`` in [-1, 1].

        The fake batch serves both updates: D sees it detached, G is judged on it by the updated D.
        Returns this worker's share of the batch means, on the device: sum them over workers.
        """
        batch, loss = self.config.batch_size, LOSSES[self.config.loss]
        step = self.images_seen // batch
        latents = training_latents(self.seed, step, batch, self.model.latent_dim)[shard(batch)]
        fake = self.generator(latents.to(self.device, self.dtype))

        real_logits, fake_logits = self.discriminator(real), self.discriminator(fake.detach())
        d_losses = loss.discriminator_real(real_logits), loss.discriminator_fake(fake_logits)
        d_loss = (d_losses[0].sum() + d_losses[1].sum()) / batch
        _descend(self.optimizer_d, self.discriminator, d_loss)

        self.discriminator.requires_grad_(False)
        g_loss = loss.generator(self.discriminator(fake)).sum() / batch
        _descend(self.optimizer_g, self.generator, g_loss)
        self.discriminator.requires_grad_(True)

        self.images_seen += batch
        self.ema.update(self.generator, batch, self.images_seen)
        return {
            "loss_d": d_loss.detach(),
            "loss_g": g_loss.detach(),
            "logit_real": real_logits.detach().sum() / batch,
            "logit_fake": fake_logits.detach().sum() / batch,
        }

    def fit(self, data: ImageSplit, images: int, *every: int) -> Iterator[dict[str, float]]:
        """Train until ``images`` have been seen, yielding means over the global batches since the last.

        A record falls on the first step past each multiple of each ``every`` (in images), and on the
        last step: the same steps on every worker and after a resume. Do between two records what has
        to be done then (score, checkpoint, stop).
        """
        totals: dict[str, Tensor] = {}
        steps = 0
        while self.images_seen < images:
            order = sample_order(self.seed, self.images_seen, self.config.batch_size, len(data))
            real = from_uint8(data.images[order[shard(len(order))]], self.device)
            for name, value in self.step(real.to(self.dtype)).items():
                totals[name] = totals.get(name, value.new_zeros(())) + value
            steps += 1
            if self.images_seen >= images or any(self.passed(cadence) for cadence in every):
                means = all_reduce_sum(torch.stack(list(totals.values())) / steps).tolist()
                yield dict(zip(totals, means, strict=True))
                totals, steps = {}, 0

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
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``. Raises ``RuntimeError`` if it is of other networks."""
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.ema.module.load_state_dict(state["ema"])
        self.optimizer_g.load_state_dict(state["optimizer_g"])
        self.optimizer_d.load_state_dict(state["optimizer_d"])
        self.images_seen = int(state["images_seen"])


def _descend(optimizer: torch.optim.Optimizer, network: nn.Module, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    sum_gradients(network.parameters())
    optimizer.step()
