"""Penalties on the discriminator's gradient with respect to images, per sample.

With BN in the discriminator the logit of an image depends on its whole batch. The penalty then is
on the gradient of the batch's summed logits, not on the per-sample gradient that the papers mean.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

PenaltyName = Literal["none", "r1", "r2", "r1_and_r2", "gradient_penalty"]


class DiscriminatorOutput(NamedTuple):
    """Images ``(N, C, H, W)`` that require gradients, and the discriminator's logits ``(N,)``."""

    images: Tensor
    logits: Tensor


def _gradients(judged: DiscriminatorOutput) -> Tensor:
    """Return the differentiable gradient of the summed logits at each image, ``(N, C * H * W)``."""
    (gradient,) = torch.autograd.grad(judged.logits.sum(), judged.images, create_graph=True)
    return gradient.flatten(1)


def _half_squared(judged: DiscriminatorOutput) -> Tensor:
    return 0.5 * _gradients(judged).square().sum(1)


PENALTIES: dict[
    str,
    Callable[[DiscriminatorOutput, DiscriminatorOutput, Callable[[], DiscriminatorOutput]], Tensor],
] = {
    "r1": lambda real, fake, mixed: _half_squared(real),
    "r2": lambda real, fake, mixed: _half_squared(fake),
    "r1_and_r2": lambda real, fake, mixed: _half_squared(real) + _half_squared(fake),
    "gradient_penalty": lambda real, fake, mixed: (
        torch.linalg.vector_norm(_gradients(mixed()), dim=1) - 1
    ).square(),
}
"""Penalties ``(N,)`` of real images, fake images, and (on demand) random mixtures of both.

r1 and r2 are |grad D|^2 / 2 (Mescheder et al. 2018, eq. 9), gradient_penalty is (|grad D| - 1)^2
(Gulrajani et al. 2017, eq. 3).
"""
