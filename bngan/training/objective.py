"""Losses and gradients of discriminator and generator for one micro-batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bngan.batchnorm.layer import batch_layout
from bngan.networks.config import ModelConfig
from bngan.networks.norms import parametrized
from bngan.training.augmentation import augment
from bngan.training.config import OptimizationConfig
from bngan.training.losses import LOSSES
from bngan.training.penalties import PENALTIES, DiscriminatorOutput


class MicroBatch(NamedTuple):
    """This worker's samples in one pass through the networks, and their random numbers.

    Random numbers that the configuration does not use are tensors ``(n, 0)``.
    """

    real: Tensor
    latents: Tensor
    mixture: Tensor
    augmentation: Tensor
    """``(n, 3, DRAWS)``: for real images, for fake ones in D's update, and for those in G's."""
    labels: Tensor | None = None


class NormGroups(NamedTuple):
    """Groups of one pass's samples; each group shares batch statistics."""

    sizes: list[int]
    """Number of this worker's samples in each group."""
    whole: bool
    """True if each group lies within one worker; the same on every worker."""


class AdversarialObjective:
    """Accumulate the gradients of the configured losses; the caller takes the optimizer steps.

    Args:
        groups: groups of each pass's samples that share batch statistics.
        compiled: whether ``torch.compile`` makes the passes that need no second derivative.

    Attributes:
        parametrized: layers with weight norm or spectral norm, by network.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        model: ModelConfig,
        config: OptimizationConfig,
        groups: NormGroups,
        device: torch.device,
        compiled: bool = False,
    ) -> None:
        self.generator, self.discriminator, self.config = generator, discriminator, config
        self.loss, self.groups, self.device = LOSSES[config.loss], groups, device
        self.joint = model.discriminator.batch_statistics == "joint"
        self.parametrized = {net: parametrized(net) for net in (generator, discriminator)}
        if compiled:
            torch.compiler.reset()  # compiled functions of earlier trainers count against a limit
        self._fast = {
            net: torch.compile(net, fullgraph=True, dynamic=False) if compiled else net
            for net in (generator, discriminator)
        }

    @contextmanager
    def _forward(self, network: nn.Module, groups: NormGroups, track: bool) -> Iterator[None]:
        """Enter autocast for forward passes; before that compute parametrized weights (float32)."""
        bfloat16 = self.config.precision == "bfloat16"
        with parametrize.cached(), batch_layout(groups.sizes, track, whole=groups.whole):
            for layer in self.parametrized[network]:
                _ = layer.weight
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
                yield

    def generate(self, micro_batch: MicroBatch, track: bool) -> Tensor:
        """Return fake images ``(n, C, H, W)``; ``track`` updates G's running statistics."""
        with self._forward(self.generator, self.groups, track):
            fake: Tensor = self._fast[self.generator](micro_batch.latents, micro_batch.labels)
        return fake.to(micro_batch.real.dtype)

    def _judge(
        self, micro_batch: MicroBatch, *batches: Tensor, track: bool = False, twice: bool = False
    ) -> list[Tensor]:
        """Return D's logits ``(n,)`` of each batch, computed in one forward.

        D normalizes each batch with its own statistics, or all of them together (``joint``).
        ``twice``: a penalty differentiates the logits twice, which no compiled function allows.
        """
        judge = self.discriminator if twice else self._fast[self.discriminator]
        groups = NormGroups(self.groups.sizes * len(batches), self.groups.whole)
        if self.joint:
            groups = NormGroups([sum(groups.sizes)], whole=False)
        labels = None if micro_batch.labels is None else micro_batch.labels.repeat(len(batches))
        with self._forward(self.discriminator, groups, track):
            logits: Tensor = judge(torch.cat(batches), labels)
        return list(logits.to(micro_batch.real.dtype).view(len(batches), len(micro_batch.real)))

    def _seen(self, micro_batch: MicroBatch, fake: Tensor, draw: int) -> tuple[Tensor, Tensor]:
        """Return real and fake images with D's augmentation."""
        if not self.config.augment:
            return micro_batch.real.detach(), fake
        real_draws, fake_draws = micro_batch.augmentation[:, 0], micro_batch.augmentation[:, draw]
        names = self.config.augment
        return augment(micro_batch.real, real_draws, names), augment(fake, fake_draws, names)

    def backward_discriminator(
        self, micro_batch: MicroBatch, fake: Tensor, penalized: bool
    ) -> dict[str, Tensor]:
        """Accumulate the gradients of D's loss, and return sums over samples by metric name."""
        config = self.config
        real, fake = self._seen(micro_batch, fake.detach(), draw=1)
        real.requires_grad_(penalized)
        fake.requires_grad_(penalized)
        real_logits, fake_logits = self._judge(micro_batch, real, fake, track=True, twice=penalized)
        losses = self.loss.discriminator(real_logits, fake_logits)
        if config.label_smoothing and self.loss.smoothing:
            losses = losses + self.loss.smoothing(real_logits, config.label_smoothing)
        value = losses.sum()
        sums = {"loss_d": value, "logit_real": real_logits.sum(), "logit_fake": fake_logits.sum()}
        if penalized:
            penalty = PENALTIES[config.penalty](
                DiscriminatorOutput(real, real_logits),
                DiscriminatorOutput(fake, fake_logits),
                lambda: self._judge_mixture(micro_batch, real, fake),
            ).sum()
            value = value + config.penalty_weight * config.penalty_every * penalty
            sums["penalty"] = penalty
        (value / config.batch_size).backward()  # type: ignore[no-untyped-call]
        return {name: total.detach() for name, total in sums.items()}

    def _judge_mixture(
        self, micro_batch: MicroBatch, real: Tensor, fake: Tensor
    ) -> DiscriminatorOutput:
        mixed = torch.lerp(fake.detach(), real.detach(), micro_batch.mixture).requires_grad_()
        (logits,) = self._judge(micro_batch, mixed, twice=True)
        return DiscriminatorOutput(mixed, logits)

    def backward_generator(
        self, micro_batch: MicroBatch, fake: Tensor, parameters: list[nn.Parameter]
    ) -> dict[str, Tensor]:
        """Accumulate the gradients of G's loss in G's ``parameters`` only, and return its sum."""
        real, fake = self._seen(micro_batch, fake, draw=2)
        batches = (real, fake) if self.joint or self.loss.paired else (fake,)
        logits = self._judge(micro_batch, *batches)
        value = self.loss.generator(logits[0], logits[-1]).sum()  # only paired losses use the first
        (value / self.config.batch_size).backward(inputs=parameters)  # type: ignore[no-untyped-call]
        return {"loss_g": value.detach()}
