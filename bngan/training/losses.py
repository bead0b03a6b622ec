"""Adversarial losses per sample, as functions of the discriminator's logits.

With D = sigmoid(logits), ``minimax`` is V(D, G) = E[log D(x)] + E[log(1 - D(G(z)))] of Goodfellow et
al. 2014, eq. 1: D ascends it, G descends its second term. ``non_saturating`` (ibid., section 3)
keeps D's part and lets G ascend E[log D(G(z))], whose gradient does not vanish when D wins.
All are written with softplus, so no logarithm of zero can occur.

Others take logits as they are: ``hinge`` (Lim & Ye 2017), ``wasserstein`` (Arjovsky et al. 2017, in
need of a penalty or spectral norm), ``least_squares`` with targets 1 and 0 (Mao et al. 2017), and
``relativistic``, which judges each fake image by the real one it is paired with (Jolicoeur-Martineau
2019; as RpGAN in Huang et al. 2024). ``inverted_minimax`` has both signs of ``minimax`` the wrong way
round, as the article's listing prints them: to study that.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor

LossName = Literal[
    "non_saturating",
    "minimax",
    "hinge",
    "wasserstein",
    "least_squares",
    "relativistic",
    "inverted_minimax",
]


class Loss(NamedTuple):
    """Losses to be *minimised*, of real and fake images' logits; all have shape ``(N,)``."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    smoothing: Callable[[Tensor, float], Tensor] | None = None
    """What it adds to D's loss if a real image's target is 1 - s (Salimans et al. 2016), of its logit
    and s; None where there are no targets."""
    paired: bool = False
    """Whether the generator's loss looks at real images too."""


def _cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-real) + F.softplus(fake)


def _logit_share(real: Tensor, smoothing: float) -> Tensor:
    return smoothing * real


LOSSES: dict[LossName, Loss] = {
    "non_saturating": Loss(_cross_entropy, lambda real, fake: F.softplus(-fake), _logit_share),
    "minimax": Loss(_cross_entropy, lambda real, fake: -F.softplus(fake), _logit_share),
    "hinge": Loss(lambda real, fake: F.relu(1 - real) + F.relu(1 + fake), lambda real, fake: -fake),
    "wasserstein": Loss(lambda real, fake: fake - real, lambda real, fake: -fake),
    "least_squares": Loss(
        lambda real, fake: ((real - 1).square() + fake.square()) / 2,
        lambda real, fake: (fake - 1).square() / 2,
        lambda real, smoothing: smoothing * (real - 1) + smoothing**2 / 2,
    ),
    "relativistic": Loss(
        lambda real, fake: F.softplus(fake - real),
        lambda real, fake: F.softplus(real - fake),
        paired=True,
    ),
    "inverted_minimax": Loss(
        lambda real, fake: -_cross_entropy(real, fake), lambda real, fake: F.softplus(fake)
    ),
}
