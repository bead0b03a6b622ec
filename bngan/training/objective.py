"""The two players and what each is to lose, on one pass of this worker's samples."""

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
    """This worker's samples of one pass through the networks, and the random numbers they need.

    Numbers that the configuration has no use for have no columns.
    """

    real: Tensor
    latents: Tensor
    mixture: Tensor
    augmentation: Tensor
    """``(n, 3, DRAWS)``: for real images, for fake ones, and for fake ones as G is judged on them."""
    labels: Tensor | None


class NormGroups(NamedTuple):
    """How the samples of a pass share statistics."""

    sizes: list[int]
    """This worker's samples in every group."""
    whole: bool
    """On every worker alike: whether each group's samples are all of one worker."""


class AdversarialObjective:
    """Generator and discriminator with the losses configured; adds gradients, and never steps.

    Args:
        groups: of each pass.

    Attributes:
        parametrized: of each network, the layers whose weight is made of others.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        model: ModelConfig,
        config: OptimizationConfig,
        groups: NormGroups,
        device: torch.device,
    ) -> None:
        self.generator, self.discriminator, self.config = generator, discriminator, config
        self.loss, self.groups, self.device = LOSSES[config.loss], groups, device
        self.joint = model.discriminator.batch_statistics == "joint"
        self.parametrized = {net: parametrized(net) for net in (generator, discriminator)}

    @contextmanager
    def _forward(self, network: nn.Module, groups: NormGroups, track: bool) -> Iterator[None]:
        """For forward passes in the configured precision; what weights are made of, in full."""
        bfloat16 = self.config.precision == "bfloat16"
        with parametrize.cached(), batch_layout(groups.sizes, track, whole=groups.whole):
            for layer in self.parametrized[network]:
                _ = layer.weight
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
                yield

    def generate(self, part: MicroBatch, track: bool) -> Tensor:
        """Fake images ``(n, C, H, W)``; ``track``: whether G's running statistics follow."""
        with self._forward(self.generator, self.groups, track):
            fake: Tensor = self.generator(part.latents, part.labels)
        return fake.to(part.real.dtype)

    def _judge(self, part: MicroBatch, *batches: Tensor, track: bool = False) -> list[Tensor]:
        """Logits ``(n,)`` of batches that belong to one pass, in one forward.

        Each batch is normalised with its own statistics, or all are together (``joint``).
        """
        groups = NormGroups(self.groups.sizes * len(batches), self.groups.whole)
        if self.joint:
            groups = NormGroups([sum(groups.sizes)], whole=False)
        labels = None if part.labels is None else part.labels.repeat(len(batches))
        with self._forward(self.discriminator, groups, track):
            logits: Tensor = self.discriminator(torch.cat(batches), labels)
        return list(logits.to(part.real.dtype).view(len(batches), len(part.real)))

    def _seen(self, part: MicroBatch, fake: Tensor, draw: int) -> tuple[Tensor, Tensor]:
        """Real and fake images as D sees them."""
        if not self.config.augment:
            return part.real.detach(), fake
        real_draws, fake_draws = part.augmentation[:, 0], part.augmentation[:, draw]
        names = self.config.augment
        return augment(part.real, real_draws, names), augment(fake, fake_draws, names)

    def backward_discriminator(
        self, part: MicroBatch, fake: Tensor, penalized: bool
    ) -> dict[str, Tensor]:
        """Add the gradients of D's loss, and return sums of what was seen."""
        config = self.config
        real, fake = self._seen(part, fake.detach(), draw=1)
        real.requires_grad_(penalized)
        fake.requires_grad_(penalized)
        real_logits, fake_logits = self._judge(part, real, fake, track=True)
        losses = self.loss.discriminator(real_logits, fake_logits)
        if config.label_smoothing and self.loss.smoothing:
            losses = losses + self.loss.smoothing(real_logits, config.label_smoothing)
        value = losses.sum()
        sums = {"loss_d": value, "logit_real": real_logits.sum(), "logit_fake": fake_logits.sum()}
        if penalized:
            penalty = PENALTIES[config.penalty](
                DiscriminatorOutput(real, real_logits),
                DiscriminatorOutput(fake, fake_logits),
                lambda: self._judge_mixture(part, real, fake),
            ).sum()
            value = value + config.penalty_weight * config.penalty_every * penalty
            sums["penalty"] = penalty
        (value / config.batch_size).backward()  # type: ignore[no-untyped-call]
        return {name: total.detach() for name, total in sums.items()}

    def _judge_mixture(self, part: MicroBatch, real: Tensor, fake: Tensor) -> DiscriminatorOutput:
        mixed = torch.lerp(fake.detach(), real.detach(), part.mixture).requires_grad_()
        (logits,) = self._judge(part, mixed)
        return DiscriminatorOutput(mixed, logits)

    def backward_generator(
        self, part: MicroBatch, fake: Tensor, parameters: list[nn.Parameter]
    ) -> dict[str, Tensor]:
        """Add the gradients of G's loss to G's ``parameters`` alone, and return its sum."""
        real, fake = self._seen(part, fake, draw=2)
        if self.joint or self.loss.paired:
            real_logits, fake_logits = self._judge(part, real, fake)
        else:
            (fake_logits,) = self._judge(part, fake)
            real_logits = fake_logits  # not looked at
        value = self.loss.generator(real_logits, fake_logits).sum()
        (value / self.config.batch_size).backward(inputs=parameters)  # type: ignore[no-untyped-call]
        return {"loss_g": value.detach()}
